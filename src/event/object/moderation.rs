//! What events of moderation are made of.

use super::*;

objects! {
    ActionLogResponse {
        id, reason, reporter_type, target_user_id, r#type, user_id: String;
        created_at: Timestamp;
        review_queue_item: Box<ReviewQueueItemResponse>;
        target_user, user: Box<UserResponse>;
        ai_providers: List<String>;
        custom: Extra;
    }
    AnalyzeImageField {
        id, action, error: String;
        confidence: Number;
        classifications, ocr_classifications: List<Classification>;
    }
    AnalyzeTextField { id, action, error, language, severity: String; classifications: List<Classification>; }
    AppealItemResponse {
        id, ai_text_severity, appeal_reason, channel_cid, config_key, decision_reason, entity_id,
        entity_type, recommended_action, review_queue_item_id, status: String;
        severity: i64;
        created_at, updated_at: Timestamp;
        entity_content: Box<ModerationPayload>;
        moderation_action, original_moderation_action: Box<ActionLogResponse>;
        user: Box<UserResponse>;
        actions: List<ActionLogResponse>;
        attachments, flag_labels, flag_types: List<String>;
        flags: List<ModerationFlagResponse>;
    }
    AutomodDetailsResponse {
        action, original_message_type: String;
        message_details: Box<FlagMessageDetailsResponse>;
        result: Box<MessageModerationResult>;
        image_labels: List<String>;
    }
    BanInfoResponse {
        channel_cid, reason: String;
        shadow: bool;
        created_at, expires: Timestamp;
        channel: Box<ChannelMetadata>;
        created_by, user: Box<UserResponse>;
    }
    BlockListOptions { behavior, blocklist: String; }
    Classification { name, severity: String; confidence: Number; subclassifications: List<Classification>; }
    EntityCreatorResponse {
        id, image, language, name, role: String;
        avg_response_time, ban_count, deleted_content_count, flagged_count: i64;
        banned, bypass_moderation, invisible, online, shadow_banned: bool;
        ban_expires, created_at, deactivated_at, deleted_at, last_active, revoke_tokens_issued_before,
        updated_at: Timestamp;
        privacy_settings: Box<PrivacySettingsResponse>;
        push_notifications: Box<PushNotificationSettingsResponse>;
        blocked_user_ids, teams: List<String>;
        devices: List<DeviceResponse>;
        teams_role: Map<String>;
        custom: Extra;
    }
    EscalationMetadata { notes, priority, reason: String; }
    FlagDetails { original_text: String; automod: Box<AutomodDetailsResponse>; }
    FlagMessageDetailsResponse { updated_by_id: String; pin_changed, should_enrich, skip_push: bool; }
    FlagResponse {
        reason, reviewed_by, target_message_id: String;
        created_by_automod: bool;
        approved_at, created_at, rejected_at, reviewed_at, updated_at: Timestamp;
        details: Box<FlagDetails>;
        target_message: Box<MessageResponse>;
        target_user, user: Box<UserResponse>;
        custom: Extra;
    }
    LabelThresholds { block, flag: Number; }
    MatchedContent {
        id, severity, text, r#type: String;
        confidence: Number;
        published_at: Timestamp;
        classifications, ocr_classifications: List<Classification>;
    }
    MessageModerationResult {
        action, blocked_word, blocklist_name, message_id, moderated_by: String;
        user_bad_karma: bool;
        user_karma: Number;
        created_at, updated_at: Timestamp;
        ai_moderation_response: Box<ModerationResponse>;
        moderation_thresholds: Box<Thresholds>;
    }
    ModerationCallResponse {
        id, channel_cid, cid, current_session_id, routing_number, team, r#type: String;
        join_ahead_time_seconds: i64;
        backstage, captioning, recording, transcribing, translating: bool;
        created_at, ended_at, starts_at, updated_at: Timestamp;
        created_by: Box<UserResponse>;
        blocked_user_ids: List<String>;
        custom: Extra;
    }
    ModerationFlagResponse {
        entity_creator_id, entity_id, entity_type, reason, review_queue_item_id, r#type, user_id: String;
        created_at, updated_at: Timestamp;
        moderation_payload: Box<ModerationPayloadResponse>;
        review_queue_item: Box<ReviewQueueItemResponse>;
        user: Box<UserResponse>;
        result: List<Extra>;
        labels: List<String>;
        custom: Extra;
    }
    ModerationPayload {
        audios, image_ordered_keys, images, other_media, text_ordered_keys, texts, videos: List<String>;
        image_ids, text_ids: Map<String>;
        custom: Extra;
    }
    ModerationPayloadResponse {
        audios, image_ordered_keys, images, other_media, text_ordered_keys, texts, videos: List<String>;
        image_ids, text_ids: Map<String>;
        custom: Extra;
    }
    ModerationResponse { action: String; explicit, spam, toxic: Number; }
    ModerationRuleInfo { id, description, name, r#type: String; }
    ModerationV2Response {
        action, blocklist_matched, original_text, semantic_filter_matched: String;
        platform_circumvented: bool;
        blocklists_matched, image_harms, text_harms: List<String>;
    }
    ReviewQueueItemResponse {
        id, ai_text_severity, config_key, entity_creator_id, entity_id, entity_type, escalated_by,
        latest_moderator_action, recommended_action, reviewed_by, status: String;
        flags_count, severity: i64;
        escalated: bool;
        completed_at, created_at, escalated_at, reviewed_at, updated_at: Timestamp;
        activity, feeds_v2_activity: Box<EnrichedActivity>;
        appeal: Box<AppealItemResponse>;
        assigned_to: Box<UserResponse>;
        call: Box<ModerationCallResponse>;
        entity_creator: Box<EntityCreatorResponse>;
        escalation_metadata: Box<EscalationMetadata>;
        feeds_v2_reaction, reaction: Box<Reaction>;
        feeds_v3_activity: Box<FeedsV3ActivityResponse>;
        feeds_v3_comment: Box<FeedsV3CommentResponse>;
        message: Box<ChatMessageResponse>;
        moderation_payload: Box<ModerationPayloadResponse>;
        actions: List<ActionLogResponse>;
        bans: List<BanInfoResponse>;
        flags: List<ModerationFlagResponse>;
        languages, teams: List<String>;
    }
    Thresholds { explicit, spam, toxic: Box<LabelThresholds>; }
}
