//! What events of calls are made of.

use super::*;

objects! {
    AudioSettingsResponse {
        default_device: String;
        access_request_enabled, hifi_audio_enabled, mic_default_on, opus_dtx_enabled,
        redundant_coding_enabled, speaker_default_on: bool;
        noise_cancellation: Box<NoiseCancellationSettings>;
    }
    BackstageSettingsResponse { join_ahead_time_seconds: i64; enabled: bool; }
    BroadcastSettingsResponse { enabled: bool; hls: Box<HLSSettingsResponse>; rtmp: Box<RTMPSettingsResponse>; }
    CallClosedCaption {
        id, language, service, speaker_id, text: String;
        translated: bool;
        end_time, start_time: Timestamp;
        user: Box<UserResponse>;
    }
    CallIngressResponse { rtmp: Box<RTMPIngress>; srt: Box<SRTIngress>; whip: Box<WHIPIngress>; }
    CallParticipantResponse { role, user_session_id: String; joined_at: Timestamp; user: Box<UserResponse>; }
    CallRecording { filename, recording_type, session_id, url: String; end_time, start_time: Timestamp; }
    CallResponse {
        id, channel_cid, cid, current_session_id, routing_number, team, r#type: String;
        join_ahead_time_seconds: i64;
        backstage, captioning, recording, transcribing, translating: bool;
        created_at, ended_at, starts_at, updated_at: Timestamp;
        created_by: Box<UserResponse>;
        egress: Box<EgressResponse>;
        ingress: Box<CallIngressResponse>;
        settings: Box<CallSettingsResponse>;
        session: Box<CallSessionResponse>;
        thumbnails: Box<ThumbnailResponse>;
        blocked_user_ids: List<String>;
        custom: Extra;
    }
    CallSessionResponse {
        id: String;
        anonymous_participant_count: i64;
        ended_at, live_ended_at, live_started_at, started_at, timer_ends_at: Timestamp;
        participants: List<CallParticipantResponse>;
        accepted_by, missed_by, rejected_by: Map<Timestamp>;
        participants_count_by_role: Map<i64>;
    }
    CallSettingsResponse {
        audio: Box<AudioSettingsResponse>;
        backstage: Box<BackstageSettingsResponse>;
        broadcasting: Box<BroadcastSettingsResponse>;
        encryption: Box<EncryptionSettingsResponse>;
        frame_recording: Box<FrameRecordingSettingsResponse>;
        geofencing: Box<GeofenceSettingsResponse>;
        individual_recording: Box<IndividualRecordingSettingsResponse>;
        limits: Box<LimitsSettingsResponse>;
        raw_recording: Box<RawRecordingSettingsResponse>;
        recording: Box<RecordSettingsResponse>;
        ring: Box<RingSettingsResponse>;
        screensharing: Box<ScreensharingSettingsResponse>;
        session: Box<SessionSettingsResponse>;
        thumbnails: Box<ThumbnailsSettingsResponse>;
        transcription: Box<TranscriptionSettingsResponse>;
        video: Box<VideoSettingsResponse>;
        ingress: Box<IngressSettingsResponse>;
    }
    CallStatsLocation {
        city, continent, country, country_iso_code, subdivision: String;
        accuracy_radius_meters: i64;
        latitude, longitude: Number;
    }
    CallStatsParticipant {
        name, user_id: String;
        latest_activity_at: Timestamp;
        sessions: List<CallStatsParticipantSession>;
        roles: List<String>;
    }
    CallStatsParticipantCounts {
        average_jitter_ms, average_latency_ms, call_event_count, cq_score, live_sessions,
        max_freezes_duration_ms, min_user_rating, participants, peak_concurrent_sessions,
        peak_concurrent_users, publishers, sessions, sfus_used, total_participant_duration: i64;
        avg_user_rating: Number;
    }
    CallStatsParticipantSession {
        browser, browser_version, current_ip, current_sfu, ingress, os, publisher_type, sdk, sdk_version,
        unified_session_id, user_session_id, webrtc_version: String;
        cq_score, freezes_duration_ms, jitter_ms, latency_ms: i64;
        is_live: bool;
        distance_to_sfu_kilometers: Number;
        ended_at, started_at: Timestamp;
        published_tracks: Box<PublishedTrackFlags>;
        location: Box<CallStatsLocation>;
    }
    CallTranscription { filename, session_id, url: String; end_time, start_time: Timestamp; }
    CompositeRecordingResponse { status: String; }
    EgressHLSResponse { playlist_url, status: String; }
    EgressRTMPResponse { name, stream_key, stream_url: String; started_at: Timestamp; }
    EgressResponse {
        broadcasting: bool;
        composite_recording: Box<CompositeRecordingResponse>;
        frame_recording: Box<FrameRecordingResponse>;
        hls: Box<EgressHLSResponse>;
        individual_recording: Box<IndividualRecordingResponse>;
        raw_recording: Box<RawRecordingResponse>;
        rtmps: List<EgressRTMPResponse>;
    }
    EncryptionSettingsResponse { mode: String; }
    FrameRecordingResponse { status: String; }
    FrameRecordingSettingsResponse { mode, quality: String; capture_interval_in_seconds: i64; }
    GeofenceSettingsResponse { names: List<String>; }
    HLSSettingsResponse {
        auto_on, enabled: bool;
        layout: Box<LayoutSettingsResponse>;
        quality_tracks: List<String>;
    }
    IndividualRecordingResponse { status: String; }
    IndividualRecordingSettingsResponse { mode: String; output_types: List<String>; }
    IngressAudioEncodingResponse { bitrate, channels: i64; enable_dtx: bool; }
    IngressSettingsResponse {
        enabled: bool;
        audio_encoding_options: Box<IngressAudioEncodingResponse>;
        video_encoding_options: Map<IngressVideoEncodingResponse>;
    }
    IngressSourceResponse { fps, height, width: i64; }
    IngressVideoEncodingResponse { source: Box<IngressSourceResponse>; layers: List<IngressVideoLayerResponse>; }
    IngressVideoLayerResponse { codec: String; bitrate, frame_rate_limit, max_dimension, min_dimension: i64; }
    LayoutSettingsResponse {
        external_app_url, external_css_url, name: String;
        detect_orientation: bool;
        options: Extra;
    }
    LimitsSettingsResponse {
        max_duration_seconds, max_participants: i64;
        max_participants_exclude_owner: bool;
        max_participants_exclude_roles: List<String>;
    }
    MemberResponse {
        role, user_id: String;
        created_at, deleted_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    NoiseCancellationSettings { mode: String; }
    PublishedTrackFlags { audio, screenshare, screenshare_audio, video: bool; }
    RTMPIngress { address: String; }
    RTMPSettingsResponse { quality: String; enabled: bool; layout: Box<LayoutSettingsResponse>; }
    RawRecordingResponse { status: String; }
    RawRecordingSettingsResponse { mode: String; audio_only: bool; }
    RecordSettingsResponse { mode, quality: String; audio_only: bool; layout: Box<LayoutSettingsResponse>; }
    RingSettingsResponse { auto_cancel_timeout_ms, incoming_call_timeout_ms, missed_call_timeout_ms: i64; }
    SRTIngress { address: String; }
    ScreensharingSettingsResponse {
        access_request_enabled, enabled: bool;
        target_resolution: Box<TargetResolution>;
    }
    SessionSettingsResponse { inactivity_timeout_seconds: i64; }
    SpeechSegmentConfig { max_speech_caption_ms, silence_duration_ms: i64; }
    TargetResolution { bitrate, height, width: i64; }
    ThumbnailResponse { image_url: String; }
    ThumbnailsSettingsResponse { enabled: bool; }
    TranscriptionSettingsResponse {
        closed_caption_mode, language, mode: String;
        speech_segment_config: Box<SpeechSegmentConfig>;
        translation: Box<TranslationSettings>;
    }
    TranslationSettings { enabled: bool; languages: List<String>; }
    VideoReactionResponse { emoji_code, r#type: String; user: Box<UserResponse>; custom: Extra; }
    VideoSettingsResponse {
        camera_facing: String;
        access_request_enabled, camera_default_on, enabled: bool;
        target_resolution: Box<TargetResolution>;
    }
    WHIPIngress { address: String; }
}
