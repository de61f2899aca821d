//! The catalogue: every wire type of Stream's hooks, and what it carries beside the fields that all events share.
//!
//! Tables of facts and nothing else. To add a type, see [the steps](super#a-new-type).

use super::event::Event;
use super::kind::{EventType, Product};
use super::payload::{CustomEvent, Payload, PayloadError, read_payload};
use super::rows::{catalogue, in_order};
use super::table::parts::*;

catalogue! {
    /// Appeals against what a moderator decided.
    appeal {
        "appeal.accepted" AppealAccepted [Chat Moderation Feeds] { appeal: Box<AppealItemResponse>; }
        "appeal.created" AppealCreated [Chat Moderation Feeds] { appeal: Box<AppealItemResponse>; }
        "appeal.rejected" AppealRejected [Chat Moderation Feeds] { appeal: Box<AppealItemResponse>; }
    }

    /// Video and audio calls.
    call {
        "call.accepted" CallAccepted [Video] { call_cid: String; call: Box<CallResponse>; user: Box<UserResponse>; }
        "call.blocked_user" CallBlockedUser [Video] { call_cid: String; blocked_by_user, user: Box<UserResponse>; }
        "call.closed_caption" CallClosedCaption [Video] {
            call_cid: String;
            // Not the event of the same name.
            closed_caption: Box<object::CallClosedCaption>;
        }
        "call.closed_captions_failed" CallClosedCaptionsFailed [Video] { call_cid: String; }
        "call.closed_captions_started" CallClosedCaptionsStarted [Video] { call_cid: String; }
        "call.closed_captions_stopped" CallClosedCaptionsStopped [Video] { call_cid: String; }
        "call.created" CallCreated [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.deleted" CallDeleted [Video] { call_cid: String; call: Box<CallResponse>; }
        "call.dtmf" CallDtmf [Video] {
            call_cid, digit: String;
            duration_ms, seq_number: i64;
            timestamp: Timestamp;
            user: Box<UserResponse>;
        }
        "call.ended" CallEnded [Video] {
            call_cid, reason: String;
            call: Box<CallResponse>;
            user: Box<UserResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.frame_recording_failed" CallFrameRecordingFailed [Video] {
            call_cid, egress_id: String;
            call: Box<CallResponse>;
        }
        "call.frame_recording_ready" CallFrameRecordingReady [Video] {
            call_cid, egress_id, session_id, track_type, url: String;
            captured_at: Timestamp;
            users: Map<UserResponse>;
        }
        "call.frame_recording_started" CallFrameRecordingStarted [Video] {
            call_cid, egress_id: String;
            call: Box<CallResponse>;
        }
        "call.frame_recording_stopped" CallFrameRecordingStopped [Video] {
            call_cid, egress_id: String;
            call: Box<CallResponse>;
        }
        "call.hls_broadcasting_failed" CallHlsBroadcastingFailed [Video] { call_cid: String; }
        "call.hls_broadcasting_started" CallHlsBroadcastingStarted [Video] {
            call_cid, hls_playlist_url: String;
            call: Box<CallResponse>;
        }
        "call.hls_broadcasting_stopped" CallHlsBroadcastingStopped [Video] { call_cid: String; }
        "call.kicked_user" CallKickedUser [Video] { call_cid: String; kicked_by_user, user: Box<UserResponse>; }
        "call.live_started" CallLiveStarted [Video] { call_cid: String; call: Box<CallResponse>; }
        "call.member_added" CallMemberAdded [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.member_removed" CallMemberRemoved [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.member_updated" CallMemberUpdated [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.member_updated_permission" CallMemberUpdatedPermission [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            members: List<IdOr<MemberResponse>>;
            capabilities_by_role: Map<List<String>>;
        }
        "call.missed" CallMissed [Video] {
            call_cid, session_id: String;
            notify_user: bool;
            call: Box<CallResponse>;
            user: Box<UserResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.moderation_blur" CallModerationBlur [Video] { call_cid, user_id: String; }
        "call.moderation_warning" CallModerationWarning [Video] { call_cid, message, user_id: String; }
        "call.notification" CallNotification [Video] {
            call_cid, session_id: String;
            call: Box<CallResponse>;
            user: Box<UserResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.permission_request" CallPermissionRequest [Video] {
            call_cid: String;
            user: Box<UserResponse>;
            permissions: List<String>;
        }
        "call.permissions_updated" CallPermissionsUpdated [Video] {
            call_cid: String;
            user: Box<UserResponse>;
            own_capabilities: List<String>;
        }
        "call.reaction_new" CallReactionNew [Video] { call_cid: String; reaction: Box<VideoReactionResponse>; }
        "call.recording_failed" CallRecordingFailed [Video] { call_cid, egress_id, recording_type: String; }
        "call.recording_ready" CallRecordingReady [Video] {
            call_cid, egress_id, recording_type: String;
            call_recording: Box<CallRecording>;
        }
        "call.recording_started" CallRecordingStarted [Video] { call_cid, egress_id, recording_type: String; }
        "call.recording_stopped" CallRecordingStopped [Video] { call_cid, egress_id, recording_type: String; }
        "call.rejected" CallRejected [Video] {
            call_cid, reason: String;
            call: Box<CallResponse>;
            user: Box<UserResponse>;
        }
        "call.ring" CallRing [Video] {
            call_cid, session_id: String;
            video: bool;
            call: Box<CallResponse>;
            user: Box<UserResponse>;
            members: List<IdOr<MemberResponse>>;
        }
        "call.rtmp_broadcast_failed" CallRtmpBroadcastFailed [Video] { call_cid, name: String; }
        "call.rtmp_broadcast_started" CallRtmpBroadcastStarted [Video] { call_cid, name: String; }
        "call.rtmp_broadcast_stopped" CallRtmpBroadcastStopped [Video] { call_cid, name: String; }
        "call.session_ended" CallSessionEnded [Video] { call_cid, session_id: String; call: Box<CallResponse>; }
        "call.session_participant_count_updated" CallSessionParticipantCountUpdated [Video] {
            call_cid, session_id: String;
            anonymous_participant_count: i64;
            participants_count_by_role: Map<i64>;
        }
        "call.session_participant_joined" CallSessionParticipantJoined [Video] {
            call_cid, session_id: String;
            participant: Box<CallParticipantResponse>;
        }
        "call.session_participant_left" CallSessionParticipantLeft [Video] {
            call_cid, reason, session_id: String;
            duration_seconds: i64;
            participant: Box<CallParticipantResponse>;
        }
        "call.session_started" CallSessionStarted [Video] { call_cid, session_id: String; call: Box<CallResponse>; }
        "call.stats_report_ready" CallStatsReportReady [Video] {
            call_cid, session_id: String;
            is_trimmed: bool;
            counts: Box<CallStatsParticipantCounts>;
            participants_overview: List<CallStatsParticipant>;
        }
        "call.transcription_failed" CallTranscriptionFailed [Video] { call_cid, egress_id, error: String; }
        "call.transcription_ready" CallTranscriptionReady [Video] {
            call_cid, egress_id: String;
            call_transcription: Box<CallTranscription>;
        }
        "call.transcription_started" CallTranscriptionStarted [Video] { call_cid, egress_id: String; }
        "call.transcription_stopped" CallTranscriptionStopped [Video] { call_cid, egress_id: String; }
        "call.unblocked_user" CallUnblockedUser [Video] { call_cid: String; user: Box<UserResponse>; }
        "call.updated" CallUpdated [Video] {
            call_cid: String;
            call: Box<CallResponse>;
            capabilities_by_role: Map<List<String>>;
        }
        "call.user_feedback_submitted" CallUserFeedbackSubmitted [Video] {
            call_cid, reason, sdk, sdk_version, session_id: String;
            rating: i64;
            user: Box<UserResponse>;
        }
        "call.user_muted" CallUserMuted [Video] {
            call_cid, from_user_id, reason: String;
            muted_user_ids: List<String>;
        }
    }

    /// Campaigns: messages to many users at once.
    campaign {
        "campaign.completed" CampaignCompleted [Chat] { campaign: Box<CampaignResponse>; }
        "campaign.started" CampaignStarted [Chat] { campaign: Box<CampaignResponse>; }
    }

    /// Channels of a chat.
    channel {
        "channel.created" ChannelCreated [Chat] {
            channel_id, channel_type, cid, created_by_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "channel.deleted" ChannelDeleted [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "channel.frozen" ChannelFrozen [Chat] {
            channel_id, channel_type, cid: String;
            members: List<IdOr<ChannelMemberResponse>>;
        }
        "channel.hidden" ChannelHidden [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            clear_history: bool;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "channel.max_streak_changed" ChannelMaxStreakChanged [Chat] { members: List<IdOr<ChannelMemberResponse>>; }
        "channel.muted" ChannelMuted [Chat] {
            mute: Box<ChannelMute>;
            user: Box<UserResponseCommonFields>;
            mutes: List<ChannelMute>;
            members: List<IdOr<ChannelMemberResponse>>;
        }
        "channel.truncated" ChannelTruncated [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "channel.unfrozen" ChannelUnfrozen [Chat] {
            channel_id, channel_type, cid: String;
            members: List<IdOr<ChannelMemberResponse>>;
        }
        "channel.unmuted" ChannelUnmuted [Chat] {
            mute: Box<ChannelMute>;
            user: Box<UserResponseCommonFields>;
            mutes: List<ChannelMute>;
            members: List<IdOr<ChannelMemberResponse>>;
        }
        "channel.updated" ChannelUpdated [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "channel.visible" ChannelVisible [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
    }

    /// Updates of many channels at once.
    channel_batch_update {
        "channel_batch_update.completed" ChannelBatchUpdateCompleted [Chat] {
            operation, status, task_id: String;
            success_channels_count: i64;
            batch_created_at, finished_at: Timestamp;
            failed_channels: List<FailedChannelUpdates>;
        }
        "channel_batch_update.started" ChannelBatchUpdateStarted [Chat] {
            operation, status, task_id: String;
            success_channels_count: i64;
            batch_created_at, finished_at: Timestamp;
            failed_channels: List<FailedChannelUpdates>;
        }
    }

    /// Events that clients send into a call. What other products call custom events is [`CustomEvent`](crate::event::CustomEvent).
    custom {
        "custom" Custom [Video] { call_cid: String; user: Box<UserResponse>; }
    }

    /// Exports that run in the background.
    export {
        "export.bulk_image_moderation.error" ExportBulkImageModerationError [Chat Moderation Feeds] {
            error, task_id: String;
            finished_at, started_at: Timestamp;
        }
        "export.bulk_image_moderation.success" ExportBulkImageModerationSuccess [Chat Moderation Feeds] {
            task_id, url: String;
            finished_at, started_at: Timestamp;
        }
        "export.channels.error" ExportChannelsError [Chat Video] {
            error, task_id: String;
            finished_at, started_at: Timestamp;
        }
        "export.channels.success" ExportChannelsSuccess [Chat Video] {
            task_id, url: String;
            finished_at, started_at: Timestamp;
        }
        "export.moderation_logs.error" ExportModerationLogsError [Chat Moderation Feeds] {
            error, task_id: String;
            finished_at, started_at: Timestamp;
        }
        "export.moderation_logs.success" ExportModerationLogsSuccess [Chat Moderation Feeds] {
            task_id, url: String;
            finished_at, started_at: Timestamp;
        }
        "export.review_queue.error" ExportReviewQueueError [Chat Moderation Feeds] {
            error, task_id: String;
            finished_at, started_at: Timestamp;
        }
        "export.review_queue.success" ExportReviewQueueSuccess [Chat Moderation Feeds] {
            task_id, url: String;
            finished_at, started_at: Timestamp;
        }
        "export.users.error" ExportUsersError [Chat Video] {
            error, task_id: String;
            finished_at, started_at: Timestamp;
        }
        "export.users.success" ExportUsersSuccess [Chat Video] {
            task_id, url: String;
            finished_at, started_at: Timestamp;
        }
    }

    /// Activity feeds.
    feeds {
        "feeds.activity.added" FeedsActivityAdded [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.deleted" FeedsActivityDeleted [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.feedback" FeedsActivityFeedback [Feeds] {
            activity_feedback: Box<ActivityFeedbackEventPayload>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.marked" FeedsActivityMarked [Feeds] {
            feed_visibility, fid: String;
            mark_all_read, mark_all_seen: bool;
            user: Box<UserResponseCommonFields>;
            mark_read, mark_seen, mark_watched: List<String>;
        }
        "feeds.activity.pinned" FeedsActivityPinned [Feeds] {
            feed_visibility, fid: String;
            pinned_activity: Box<PinActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.reaction.added" FeedsActivityReactionAdded [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            reaction: Box<FeedsReactionResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.reaction.deleted" FeedsActivityReactionDeleted [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            reaction: Box<FeedsReactionResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.reaction.updated" FeedsActivityReactionUpdated [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            reaction: Box<FeedsReactionResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.removed_from_feed" FeedsActivityRemovedFromFeed [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.restored" FeedsActivityRestored [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.unpinned" FeedsActivityUnpinned [Feeds] {
            feed_visibility, fid: String;
            pinned_activity: Box<PinActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.activity.updated" FeedsActivityUpdated [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.bookmark.added" FeedsBookmarkAdded [Feeds] {
            bookmark: Box<BookmarkResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.bookmark.deleted" FeedsBookmarkDeleted [Feeds] {
            bookmark: Box<BookmarkResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.bookmark.updated" FeedsBookmarkUpdated [Feeds] {
            bookmark: Box<BookmarkResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.bookmark_folder.deleted" FeedsBookmarkFolderDeleted [Feeds] {
            bookmark_folder: Box<BookmarkFolderResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.bookmark_folder.updated" FeedsBookmarkFolderUpdated [Feeds] {
            bookmark_folder: Box<BookmarkFolderResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.added" FeedsCommentAdded [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            comment: Box<CommentResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.deleted" FeedsCommentDeleted [Feeds] {
            feed_visibility, fid: String;
            comment: Box<CommentResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.reaction.added" FeedsCommentReactionAdded [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            comment: Box<CommentResponse>;
            reaction: Box<FeedsReactionResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.reaction.deleted" FeedsCommentReactionDeleted [Feeds] {
            feed_visibility, fid: String;
            comment: Box<CommentResponse>;
            reaction: Box<FeedsReactionResponse>;
        }
        "feeds.comment.reaction.updated" FeedsCommentReactionUpdated [Feeds] {
            feed_visibility, fid: String;
            activity: Box<ActivityResponse>;
            comment: Box<CommentResponse>;
            reaction: Box<FeedsReactionResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.restored" FeedsCommentRestored [Feeds] {
            feed_visibility, fid: String;
            comment: Box<CommentResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.comment.updated" FeedsCommentUpdated [Feeds] {
            feed_visibility, fid: String;
            comment: Box<CommentResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed.created" FeedsFeedCreated [Feeds] {
            feed_visibility, fid: String;
            feed: Box<FeedResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<FeedMemberResponse>>;
        }
        "feeds.feed.deleted" FeedsFeedDeleted [Feeds] {
            feed_visibility, fid: String;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed.updated" FeedsFeedUpdated [Feeds] {
            feed_visibility, fid: String;
            feed: Box<FeedResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed_group.changed" FeedsFeedGroupChanged [Feeds] {
            feed_visibility, fid: String;
            feed_group: Box<FeedGroup>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed_group.deleted" FeedsFeedGroupDeleted [Feeds] { feed_visibility, fid, group_id: String; }
        "feeds.feed_group.restored" FeedsFeedGroupRestored [Feeds] { feed_visibility, fid, group_id: String; }
        "feeds.feed_member.added" FeedsFeedMemberAdded [Feeds] {
            feed_visibility, fid: String;
            member: Box<FeedMemberResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed_member.removed" FeedsFeedMemberRemoved [Feeds] {
            feed_visibility, fid, member_id: String;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.feed_member.updated" FeedsFeedMemberUpdated [Feeds] {
            feed_visibility, fid: String;
            member: Box<FeedMemberResponse>;
            user: Box<UserResponseCommonFields>;
        }
        "feeds.follow.created" FeedsFollowCreated [Feeds] {
            feed_visibility, fid: String;
            follow: Box<FollowResponse>;
        }
        "feeds.follow.deleted" FeedsFollowDeleted [Feeds] {
            feed_visibility, fid: String;
            follow: Box<FollowResponse>;
        }
        "feeds.follow.updated" FeedsFollowUpdated [Feeds] {
            feed_visibility, fid: String;
            follow: Box<FollowResponse>;
        }
        "feeds.notification_feed.updated" FeedsNotificationFeedUpdated [Feeds] {
            feed_visibility, fid: String;
            notification_status: Box<NotificationStatusResponse>;
            user: Box<UserResponseCommonFields>;
            aggregated_activities: List<AggregatedActivityResponse>;
        }
        "feeds.stories_feed.updated" FeedsStoriesFeedUpdated [Feeds] {
            feed_visibility, fid: String;
            user: Box<UserResponseCommonFields>;
            activities: List<ActivityResponse>;
            aggregated_activities: List<AggregatedActivityResponse>;
        }
    }

    /// Flags on messages and users.
    flag {
        "flag.updated" FlagUpdated [Chat] {
            created_by = "CreatedBy", user = "User": Box<UserResponse>;
            message = "Message": Box<MessageResponse>;
        }
    }

    /// Streams that come into a call from outside.
    ingress {
        "ingress.error" IngressError [Video] { call_cid, code, error, ingress_stream_id, user_id: String; }
        "ingress.started" IngressStarted [Video] {
            call_cid, client_ip, client_name, ingress_stream_id, publisher_type, user_id, version: String;
        }
        "ingress.stopped" IngressStopped [Video] { call_cid, ingress_stream_id, user_id: String; }
    }

    /// Members of a channel.
    member {
        "member.added" MemberAdded [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            member: Box<ChannelMemberResponse>;
            user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "member.removed" MemberRemoved [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            member: Box<ChannelMemberResponse>;
            user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "member.updated" MemberUpdated [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            member: Box<ChannelMemberResponse>;
            user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
    }

    /// Messages of a channel.
    message {
        "message.deleted" MessageDeleted [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            deleted_for_me, hard_delete, soft_delete: bool;
            channel_last_message_at: Timestamp;
            message: Box<MessageResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "message.flagged" MessageFlagged [Chat] {
            channel_id, channel_type, cid, message_id, reason, team: String;
            channel_member_count, channel_message_count, total_flags: i64;
            channel_last_message_at: Timestamp;
            message: Box<MessageResponse>;
            details: Box<MessageModerationResult>;
            flag: Box<FlagResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "message.new" MessageNew [Chat] {
            channel_id, channel_type, cid, message_id, parent_author, team: String;
            channel_member_count, channel_message_count, total_unread_count, unread_channels, unread_count,
            watcher_count: i64;
            channel_last_message_at: Timestamp;
            message: Box<MessageResponse>;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            thread_participants: List<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            grouped_unread_channels: Map<i64>;
            channel_custom: Extra;
        }
        "message.pending" MessagePending [Chat] {
            method: String;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            user: Box<UserResponse>;
            members: List<IdOr<ChannelMemberResponse>>;
            metadata: Map<String>;
        }
        "message.read" MessageRead [Chat] {
            channel_id, channel_type, cid, last_read_message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            thread: Box<ThreadResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "message.unblocked" MessageUnblocked [Chat] {
            cid, message_id: String;
            message: Box<MessageResponse>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
        }
        "message.undeleted" MessageUndeleted [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            message: Box<MessageResponse>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
        "message.updated" MessageUpdated [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            message: Box<MessageResponse>;
            message_update: Box<MessageUpdate>;
            user: Box<UserResponseCommonFields>;
            members: List<IdOr<ChannelMemberResponse>>;
            channel_custom: Extra;
        }
    }

    /// What moderation found and did.
    moderation {
        "moderation.analysis.failed" ModerationAnalysisFailed [Chat Moderation Feeds] {
            config_key, entity_creator_id, entity_id, entity_type: String;
            content_ids: Map<String>;
        }
        "moderation.custom_action" ModerationCustomAction [Chat Moderation Feeds] {
            action_id: String;
            review_queue_item: Box<ReviewQueueItemResponse>;
            message: Box<MessageResponse>;
            action_options: Extra;
        }
        "moderation.flagged" ModerationFlagged [Chat Moderation Feeds] { content_type, object_id: String; }
        "moderation.image_analysis.complete" ModerationImageAnalysisComplete [Chat Moderation Feeds] {
            config_key, entity_creator_id, entity_id, entity_type, review_queue_item_id: String;
            images: Map<AnalyzeImageField>;
            texts: Map<AnalyzeTextField>;
        }
        "moderation.mark_reviewed" ModerationMarkReviewed [Chat Moderation Feeds] {
            item: Box<ReviewQueueItemResponse>;
            message: Box<MessageResponse>;
        }
        "moderation.text_analysis.complete" ModerationTextAnalysisComplete [Chat Moderation Feeds] {
            config_key, entity_creator_id, entity_id, entity_type, review_queue_item_id: String;
            texts: Map<AnalyzeTextField>;
        }
    }

    /// Checks by moderation.
    moderation_check {
        "moderation_check.completed" ModerationCheckCompleted [Chat Moderation Feeds] {
            entity_id, entity_type, recommended_action, review_queue_item_id: String;
        }
    }

    /// Rules of moderation.
    moderation_rule {
        "moderation_rule.triggered" ModerationRuleTriggered [Chat Moderation Feeds] {
            entity_id, entity_type, review_queue_item_id, user_id: String;
            violation_number: i64;
            rule: Box<ModerationRuleInfo>;
            triggered_actions: List<String>;
            matched_contents: List<MatchedContent>;
        }
    }

    /// What one user is told.
    notification {
        "notification.mark_unread" NotificationMarkUnread [Chat] {
            channel_id, channel_type, cid, first_unread_message_id, last_read_message_id, team, thread_id: String;
            channel_member_count, channel_message_count, total_unread_count, unread_channels, unread_count,
            unread_messages, unread_thread_messages, unread_threads: i64;
            channel_last_message_at, last_read_at: Timestamp;
            channel: Box<ChannelResponse>;
            user: Box<UserResponseCommonFields>;
            grouped_unread_channels: Map<i64>;
            channel_custom: Extra;
        }
        "notification.reminder_due" NotificationReminderDue [Chat] {
            cid, message_id, parent_id, user_id: String;
            reminder: Box<ReminderResponseData>;
        }
        "notification.thread_message_new" NotificationThreadMessageNew [Chat] {
            channel_id, channel_type, cid, message_id, parent_author, team, thread_id: String;
            channel_member_count, channel_message_count, unread_thread_messages, unread_threads, watcher_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            thread_participants: List<UserResponseCommonFields>;
            channel_custom: Extra;
        }
    }

    /// Reactions to messages.
    reaction {
        "reaction.deleted" ReactionDeleted [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            reaction: Box<ReactionResponse>;
            user: Box<UserResponseCommonFields>;
            thread_participants: List<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "reaction.new" ReactionNew [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            reaction: Box<ReactionResponse>;
            user: Box<UserResponseCommonFields>;
            thread_participants: List<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "reaction.updated" ReactionUpdated [Chat] {
            channel_id, channel_type, cid, message_id, team: String;
            channel_member_count, channel_message_count: i64;
            channel_last_message_at: Timestamp;
            channel: Box<ChannelResponse>;
            message: Box<MessageResponse>;
            reaction: Box<ReactionResponse>;
            user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
    }

    /// Reminders of messages.
    reminder {
        "reminder.created" ReminderCreated [Chat] {
            cid, message_id, parent_id, user_id: String;
            reminder: Box<ReminderResponseData>;
        }
        "reminder.deleted" ReminderDeleted [Chat] {
            cid, message_id, parent_id, user_id: String;
            reminder: Box<ReminderResponseData>;
        }
        "reminder.updated" ReminderUpdated [Chat] {
            cid, message_id, parent_id, user_id: String;
            reminder: Box<ReminderResponseData>;
        }
    }

    /// What waits for a moderator's eye.
    review_queue_item {
        "review_queue_item.new" ReviewQueueItemNew [Chat Moderation Feeds] {
            action: Box<ActionLogResponse>;
            review_queue_item: Box<ReviewQueueItemResponse>;
            flags: List<ModerationFlagResponse>;
        }
        "review_queue_item.updated" ReviewQueueItemUpdated [Chat Moderation Feeds] {
            action: Box<ActionLogResponse>;
            review_queue_item: Box<ReviewQueueItemResponse>;
            flags: List<ModerationFlagResponse>;
        }
    }

    /// Threads.
    thread {
        "thread.updated" ThreadUpdated [Chat] {
            channel_id, channel_type, cid: String;
            thread: Box<ThreadResponse>;
        }
    }

    /// Users.
    user {
        "user.banned" UserBanned [Chat Video Feeds] {
            channel_id, channel_type, cid, created_by_id, reason, review_queue_item_id, team: String;
            channel_member_count, channel_message_count, total_bans: i64;
            shadow: bool;
            channel_last_message_at, expiration: Timestamp;
            created_by, user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "user.deactivated" UserDeactivated [Chat Video Feeds] {
            created_by_id: String;
            created_by, user: Box<UserResponseCommonFields>;
        }
        "user.deleted" UserDeleted [Chat Video] {
            created_by_id, delete_conversation, delete_messages, delete_user: String;
            delete_conversation_channels, hard_delete, mark_messages_deleted, soft_delete: bool;
            user: Box<UserResponseCommonFields>;
        }
        "user.flagged" UserFlagged [Chat] {
            reason: String;
            total_flags: i64;
            target_user, user: Box<UserResponseCommonFields>;
        }
        "user.messages.deleted" UserMessagesDeleted [Chat] {
            channel_id, channel_type, cid, team: String;
            channel_member_count, channel_message_count: i64;
            hard_delete, soft_delete: bool;
            channel_last_message_at: Timestamp;
            user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "user.muted" UserMuted [Chat] {
            target_user, user: Box<UserResponseCommonFields>;
            target_users: List<UserResponseCommonFields>;
        }
        "user.reactivated" UserReactivated [Chat Video Feeds] {
            created_by_id: String;
            created_by, user: Box<UserResponseCommonFields>;
        }
        "user.unbanned" UserUnbanned [Chat Video Feeds] {
            channel_id, channel_type, cid, created_by_id, team: String;
            channel_member_count, channel_message_count: i64;
            shadow: bool;
            channel_last_message_at: Timestamp;
            created_by, user: Box<UserResponseCommonFields>;
            channel_custom: Extra;
        }
        "user.unmuted" UserUnmuted [Chat] {
            target_user, user: Box<UserResponseCommonFields>;
            target_users: List<UserResponseCommonFields>;
        }
        "user.unread_message_reminder" UserUnreadMessageReminder [Chat] {
            user: Box<UserResponseCommonFields>;
            channels: Map<ChannelMessagesResponse>;
        }
        "user.updated" UserUpdated [Chat Video Feeds] { user: Box<UserResponsePrivacyFields>; }
    }

    /// Groups of users.
    user_group {
        "user_group.created" UserGroupCreated [Chat] {
            user: Box<UserResponseCommonFields>;
            user_group: Box<UserGroup>;
        }
        "user_group.deleted" UserGroupDeleted [Chat] {
            user: Box<UserResponseCommonFields>;
            user_group: Box<UserGroup>;
        }
        "user_group.member_added" UserGroupMemberAdded [Chat] {
            user: Box<UserResponseCommonFields>;
            user_group: Box<UserGroup>;
            members: List<IdOr<UserGroupMember>>;
        }
        "user_group.member_removed" UserGroupMemberRemoved [Chat] {
            user: Box<UserResponseCommonFields>;
            user_group: Box<UserGroup>;
            members: List<IdOr<UserGroupMember>>;
        }
        "user_group.updated" UserGroupUpdated [Chat] {
            user: Box<UserResponseCommonFields>;
            user_group: Box<UserGroup>;
        }
    }
}
