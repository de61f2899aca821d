//! What events of chat are made of: channels, messages, polls, campaigns.

use super::*;

objects! {
    Action { name, style, text, r#type, value: String; }
    Attachment {
        asset_url, author_icon, author_link, author_name, color, fallback, footer, footer_icon, image_url,
        og_scrape_url, pretext, text, thumb_url, title, title_link, r#type: String;
        original_height, original_width: i64;
        giphy: Box<Images>;
        actions: List<Action>;
        fields: List<Field>;
        custom: Extra;
    }
    CampaignChannelMember { channel_role, user_id: String; custom: Extra; }
    CampaignChannelTemplate {
        id, team, r#type: String;
        members: List<IdOr<CampaignChannelMember>>;
        members_template: List<CampaignChannelMember>;
        custom: Extra;
    }
    CampaignMessageTemplate {
        poll_id, text: String;
        searchable: bool;
        attachments: List<Attachment>;
        custom: Extra;
    }
    CampaignResponse {
        id, description, name, sender_id, sender_mode, sender_visibility, status: String;
        create_channels, show_channels, skip_push, skip_webhook: bool;
        created_at, scheduled_for, stop_at, updated_at: Timestamp;
        stats: Box<CampaignStatsResponse>;
        channel_template: Box<CampaignChannelTemplate>;
        message_template: Box<CampaignMessageTemplate>;
        sender: Box<UserResponse>;
        segment_ids, user_ids: List<String>;
        segments: List<Segment>;
        users: List<UserResponse>;
    }
    CampaignStatsResponse {
        stats_channels_created, stats_messages_sent, stats_users_read, stats_users_sent: i64;
        progress: Number;
        stats_completed_at, stats_started_at: Timestamp;
    }
    ChannelConfigWithInfo {
        automod, automod_behavior, blocklist, blocklist_behavior, name, partition_ttl, push_level: String;
        max_message_length, partition_size: i64;
        connect_events, count_messages, custom_events, delivery_events, mark_messages_pending, mutes, polls,
        push_notifications, quotes, reactions, read_events, reminders, replies, search, shared_locations,
        skip_last_msg_update_for_system_msgs, typing_events, uploads, url_enrichment, user_message_reminders: bool;
        created_at, updated_at: Timestamp;
        automod_thresholds: Box<Thresholds>;
        chat_preferences: Box<ChatPreferences>;
        commands: List<IdOr<Command>>;
        allowed_flag_reasons: List<String>;
        blocklists: List<BlockListOptions>;
        grants: Map<List<String>>;
    }
    ChannelMemberPartialResponse { channel_role: String; notifications_muted: bool; custom: Extra; }
    ChannelMemberResponse {
        channel_role, role, status, user_id: String;
        ban_from_future_channels, banned, invited, is_moderator, notifications_muted, shadow_banned: bool;
        archived_at, ban_expires, created_at, deleted_at, future_channel_ban_expires,
        invite_accepted_at, invite_rejected_at, pinned_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        deleted_messages: List<String>;
        custom: Extra;
    }
    ChannelMessagesResponse { channel: Box<ChannelResponse>; messages: List<MessageResponse>; }
    ChannelMetadata {
        id, cid, push_level, team, r#type: String;
        member_count, message_count: i64;
        last_message_at: Timestamp;
        custom: Extra;
    }
    ChannelMute {
        created_at, expires, updated_at: Timestamp;
        channel: Box<ChannelResponse>;
        user: Box<UserResponse>;
    }
    ChannelResponse {
        id, auto_translation_language, cid, created_by_id, team, r#type: String;
        cooldown, member_count, message_count: i64;
        auto_translation_enabled, blocked, disabled, frozen, hidden, muted: bool;
        created_at, deleted_at, hide_messages_before, last_message_at, mute_expires_at, truncated_at,
        updated_at: Timestamp;
        config: Box<ChannelConfigWithInfo>;
        created_by, truncated_by: Box<UserResponse>;
        filter_tags, own_capabilities: List<String>;
        members: List<IdOr<ChannelMemberResponse>>;
        custom: Extra;
    }
    ChatDraftPayloadResponse {
        id, html, mml, parent_id, poll_id, quoted_message_id, text, r#type: String;
        show_in_channel, silent: bool;
        attachments: List<Attachment>;
        mentioned_users: List<UserResponse>;
        custom: Extra;
    }
    ChatDraftResponse {
        channel_cid, parent_id: String;
        created_at: Timestamp;
        message: Box<ChatDraftPayloadResponse>;
        parent_message, quoted_message: Box<ChatMessageResponse>;
    }
    ChatMessageResponse {
        id, cid, command, html, mml, parent_id, poll_id, quoted_message_id, text, r#type: String;
        deleted_reply_count, reply_count: i64;
        deleted_for_me, mentioned_channel, mentioned_here, pinned, shadowed, show_in_channel, silent: bool;
        created_at, deleted_at, message_text_updated_at, pin_expires, pinned_at, updated_at: Timestamp;
        pinned_by, user: Box<UserResponse>;
        draft: Box<ChatDraftResponse>;
        member: Box<ChannelMemberPartialResponse>;
        moderation: Box<ChatModerationV2Response>;
        poll: Box<PollResponseData>;
        quoted_message: Box<ChatMessageResponse>;
        reminder: Box<ChatReminderResponseData>;
        shared_location: Box<ChatSharedLocationResponseData>;
        attachments: List<Attachment>;
        latest_reactions, own_reactions: List<ChatReactionResponse>;
        mentioned_users, thread_participants: List<UserResponse>;
        mentioned_group_ids, mentioned_roles, restricted_visibility: List<String>;
        mentioned_groups: List<UserGroupResponse>;
        reaction_counts, reaction_scores: Map<i64>;
        i18n: Map<String>;
        image_labels: Map<List<String>>;
        reaction_groups: Map<ChatReactionGroupResponse>;
        custom: Extra;
    }
    ChatModerationV2Response {
        action, blocklist_matched, original_text, semantic_filter_matched: String;
        platform_circumvented: bool;
        blocklists_matched, image_harms, text_harms: List<String>;
    }
    ChatPreferences {
        channel_mentions, default_preference, direct_mentions, distinct_channel_messages, group_mentions,
        here_mentions, role_mentions, thread_replies: String;
    }
    ChatReactionGroupResponse {
        count, sum_scores: i64;
        first_reaction_at, last_reaction_at: Timestamp;
        latest_reactions_by: List<ChatReactionGroupUserResponse>;
    }
    ChatReactionGroupUserResponse { user_id: String; created_at: Timestamp; user: Box<UserResponse>; }
    ChatReactionResponse {
        message_id, r#type, user_id: String;
        score: i64;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    ChatReminderResponseData {
        channel_cid, message_id, user_id: String;
        created_at, remind_at, updated_at: Timestamp;
        message: Box<ChatMessageResponse>;
        user: Box<UserResponse>;
    }
    ChatSharedLocationResponseData {
        channel_cid, created_by_device_id, message_id, user_id: String;
        latitude, longitude: Number;
        created_at, end_at, updated_at: Timestamp;
        message: Box<ChatMessageResponse>;
    }
    Command { args, description, name, set: String; created_at, updated_at: Timestamp; }
    DraftPayloadResponse {
        id, html, mml, parent_id, poll_id, quoted_message_id, text, r#type: String;
        show_in_channel, silent: bool;
        attachments: List<Attachment>;
        mentioned_users: List<UserResponse>;
        custom: Extra;
    }
    DraftResponse {
        channel_cid, parent_id: String;
        created_at: Timestamp;
        message: Box<DraftPayloadResponse>;
        channel: Box<ChannelResponse>;
        parent_message, quoted_message: Box<MessageResponse>;
    }
    FailedChannelUpdates { reason: String; cids: List<String>; }
    Field { title, value: String; short: bool; }
    ImageData { frames, height, size, url, width: String; }
    Images {
        fixed_height, fixed_height_downsampled, fixed_height_still, fixed_width,
        fixed_width_downsampled, fixed_width_still, original: Box<ImageData>;
    }
    MessageChangeSet {
        attachments, custom, html, mentioned_user_ids, mml, pin, quoted_message_id, silent, text: bool;
    }
    MessageResponse {
        id, cid, command, html, mml, parent_id, poll_id, quoted_message_id, text, r#type: String;
        deleted_reply_count, reply_count: i64;
        deleted_for_me, mentioned_channel, mentioned_here, pinned, shadowed, show_in_channel, silent: bool;
        created_at, deleted_at, message_text_updated_at, pin_expires, pinned_at, updated_at: Timestamp;
        pinned_by, user: Box<UserResponse>;
        draft: Box<DraftResponse>;
        member: Box<ChannelMemberPartialResponse>;
        moderation: Box<ModerationV2Response>;
        poll: Box<PollResponseData>;
        quoted_message: Box<MessageResponse>;
        reminder: Box<ReminderResponseData>;
        shared_location: Box<SharedLocationResponseData>;
        attachments: List<Attachment>;
        latest_reactions, own_reactions: List<ReactionResponse>;
        mentioned_users, thread_participants: List<UserResponse>;
        mentioned_group_ids, mentioned_roles, restricted_visibility: List<String>;
        mentioned_groups: List<UserGroupResponse>;
        reaction_counts, reaction_scores: Map<i64>;
        i18n: Map<String>;
        image_labels: Map<List<String>>;
        reaction_groups: Map<ReactionGroupResponse>;
        custom: Extra;
    }
    MessageUpdate { old_text: String; change_set: Box<MessageChangeSet>; }
    PollOptionResponseData { id, text: String; custom: Extra; }
    PollResponseData {
        id, created_by_id, description, name, voting_visibility: String;
        answers_count, max_votes_allowed, vote_count: i64;
        allow_answers, allow_user_suggested_options, enforce_unique_vote, is_closed: bool;
        created_at, updated_at: Timestamp;
        created_by: Box<UserResponse>;
        latest_answers, own_votes: List<PollVoteResponseData>;
        options: List<PollOptionResponseData>;
        latest_votes_by_option: Map<List<PollVoteResponseData>>;
        vote_counts_by_option: Map<i64>;
        custom: Extra;
    }
    PollVoteResponseData {
        id, answer_text, option_id, poll_id, user_id: String;
        is_answer: bool;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
    }
    ReactionGroupResponse {
        count, sum_scores: i64;
        first_reaction_at, last_reaction_at: Timestamp;
        latest_reactions_by: List<ReactionGroupUserResponse>;
    }
    ReactionGroupUserResponse { user_id: String; created_at: Timestamp; user: Box<UserResponse>; }
    ReactionResponse {
        message_id, r#type, user_id: String;
        score: i64;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    ReminderResponseData {
        channel_cid, message_id, user_id: String;
        created_at, remind_at, updated_at: Timestamp;
        channel: Box<ChannelResponse>;
        message: Box<MessageResponse>;
        user: Box<UserResponse>;
    }
    Segment {
        id, description, name, task_id, r#type: String;
        size: i64;
        all_sender_channels, all_users: bool;
        created_at, deleted_at, updated_at: Timestamp;
        filter: Extra;
    }
    ThreadParticipant {
        channel_cid, thread_id, user_id: String;
        created_at, last_read_at, last_thread_message_at, left_thread_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    ThreadResponse {
        channel_cid, created_by_user_id, parent_message_id, title: String;
        active_participant_count, participant_count, reply_count: i64;
        created_at, deleted_at, last_message_at, updated_at: Timestamp;
        channel: Box<ChannelResponse>;
        created_by: Box<UserResponse>;
        parent_message: Box<MessageResponse>;
        thread_participants: List<ThreadParticipant>;
        custom: Extra;
    }
}
