//! What events of feeds are made of.

use super::*;

objects! {
    ActivityFeedbackEventPayload {
        action, activity_id, value: String;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
    }
    ActivityFilterConfig { exclude_owner_activities: bool; }
    ActivityProcessorConfig { r#type: String; }
    ActivityResponse {
        id, moderation_action, restrict_replies, selector_source, text, r#type, visibility, visibility_tag: String;
        bookmark_count, comment_count, friend_reaction_count, popularity, reaction_count, share_count: i64;
        hidden, is_read, is_seen, is_watched, preview: bool;
        score: Number;
        created_at, deleted_at, edited_at, expires_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        current_feed: Box<FeedResponse>;
        location: Box<Location>;
        moderation: Box<ModerationV2Response>;
        notification_context: Box<NotificationContext>;
        parent: Box<ActivityResponse>;
        poll: Box<PollResponseData>;
        attachments: List<Attachment>;
        comments: List<CommentResponse>;
        feeds, filter_tags, interest_tags: List<String>;
        friend_reactions, latest_reactions, own_reactions: List<FeedsReactionResponse>;
        mentioned_users: List<UserResponse>;
        own_bookmarks: List<BookmarkResponse>;
        latest_shares: List<ShareResponse>;
        collections: Map<EnrichedCollectionResponse>;
        reaction_groups: Map<FeedsReactionGroupResponse>;
        i18n: Map<String>;
        metrics: Map<i64>;
        custom, score_vars, search_data: Extra;
    }
    ActivitySelectorConfig {
        cutoff_time, cutoff_window, r#type: String;
        min_popularity: i64;
        sort: List<SortParamRequest>;
        filter, params: Extra;
    }
    AggregatedActivityResponse {
        group: String;
        activity_count, user_count: i64;
        is_read, is_seen, is_watched, user_count_truncated: bool;
        score: Number;
        created_at, updated_at: Timestamp;
        activities: List<ActivityResponse>;
    }
    AggregationConfig { activities_sort, format, score_strategy: String; }
    BookmarkFolderResponse {
        id, name: String;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    BookmarkResponse {
        activity_id, object_id, object_type: String;
        created_at, updated_at: Timestamp;
        activity: Box<ActivityResponse>;
        user: Box<UserResponse>;
        comment: Box<CommentResponse>;
        folder: Box<BookmarkFolderResponse>;
        custom: Extra;
    }
    CommentResponse {
        id, object_id, object_type, parent_id, status, text: String;
        bookmark_count, downvote_count, reaction_count, reply_count, score, upvote_count: i64;
        confidence_score, controversy_score: Number;
        created_at, deleted_at, edited_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        moderation: Box<ModerationV2Response>;
        mentioned_users: List<UserResponse>;
        latest_reactions, own_reactions: List<FeedsReactionResponse>;
        attachments: List<Attachment>;
        i18n: Map<String>;
        reaction_groups: Map<FeedsReactionGroupResponse>;
        custom: Extra;
    }
    Data { id: String; }
    DecayFunctionConfig { base, decay, direction, offset, origin, scale: String; }
    EnrichedActivity {
        id, foreign_id, verb: String;
        score: Number;
        actor, object, origin, target: Box<Data>;
        to: List<String>;
        latest_reactions, own_reactions: Map<List<EnrichedReaction>>;
        reaction_counts: Map<i64>;
    }
    EnrichedCollectionResponse {
        id, name, status, user_id: String;
        created_at, updated_at: Timestamp;
        custom: Extra;
    }
    EnrichedReaction {
        id, activity_id, kind, parent, user_id: String;
        created_at, updated_at: Timestamp;
        user: Box<Data>;
        target_feeds: List<String>;
        children_counts: Map<i64>;
        latest_children, own_children: Map<List<EnrichedReaction>>;
        data: Extra;
    }
    FeedGroup {
        default_visibility, group_id: String;
        aggregation_version, app_pk: i64;
        created_at, deleted_at, last_feed_get_at, updated_at: Timestamp;
        activity_filter: Box<ActivityFilterConfig>;
        aggregation: Box<AggregationConfig>;
        notification: Box<NotificationConfig>;
        push_notification: Box<PushNotificationConfig>;
        ranking: Box<RankingConfig>;
        stories: Box<StoriesConfig>;
        activity_processors: List<ActivityProcessorConfig>;
        activity_selectors: List<ActivitySelectorConfig>;
        custom: Extra;
    }
    FeedMemberResponse {
        role, status: String;
        created_at, invite_accepted_at, invite_rejected_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        membership_level: Box<MembershipLevelResponse>;
        custom: Extra;
    }
    FeedResponse {
        id, description, feed, group_id, name, visibility: String;
        activity_count, follower_count, following_count, member_count, pin_count: i64;
        created_at, deleted_at, updated_at: Timestamp;
        created_by: Box<UserResponse>;
        location: Box<Location>;
        own_membership: Box<FeedMemberResponse>;
        filter_tags, own_capabilities: List<String>;
        own_followings, own_follows: List<FollowResponse>;
        custom: Extra;
    }
    FeedsActivityLocation { lat, lng: Number; }
    FeedsBookmarkResponse {
        activity_id, object_id, object_type: String;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    FeedsEnrichedCollectionResponse {
        id, name, status, user_id: String;
        created_at, updated_at: Timestamp;
        custom: Extra;
    }
    FeedsFeedResponse {
        id, description, feed, group_id, name, visibility: String;
        activity_count, follower_count, following_count, member_count, pin_count: i64;
        created_at, deleted_at, updated_at: Timestamp;
        created_by: Box<UserResponse>;
        location: Box<FeedsActivityLocation>;
        filter_tags: List<String>;
        custom: Extra;
    }
    FeedsNotificationComment { id, comment, user_id: String; attachments: List<Attachment>; }
    FeedsNotificationContext { target: Box<FeedsNotificationTarget>; trigger: Box<FeedsNotificationTrigger>; }
    FeedsNotificationParentActivity { id, text, r#type, user_id: String; attachments: List<Attachment>; }
    FeedsNotificationTarget {
        id, name, text, r#type, user_id: String;
        comment: Box<FeedsNotificationComment>;
        parent_activity: Box<FeedsNotificationParentActivity>;
        attachments: List<Attachment>;
        custom: Extra;
    }
    FeedsNotificationTrigger { text, r#type: String; comment: Box<FeedsNotificationComment>; custom: Extra; }
    FeedsReactionGroupResponse { count: i64; first_reaction_at, last_reaction_at: Timestamp; }
    FeedsReactionResponse {
        activity_id, comment_id, r#type: String;
        created_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        custom: Extra;
    }
    FeedsShareResponse { activity_id: String; created_at: Timestamp; user: Box<UserResponse>; }
    FeedsV3ActivityResponse {
        id, moderation_action, restrict_replies, selector_source, text, r#type, visibility, visibility_tag: String;
        bookmark_count, comment_count, friend_reaction_count, popularity, reaction_count, share_count: i64;
        hidden, is_read, is_seen, is_watched, preview: bool;
        score: Number;
        created_at, deleted_at, edited_at, expires_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        current_feed: Box<FeedsFeedResponse>;
        location: Box<FeedsActivityLocation>;
        moderation: Box<ModerationV2Response>;
        notification_context: Box<FeedsNotificationContext>;
        parent: Box<FeedsV3ActivityResponse>;
        poll: Box<PollResponseData>;
        attachments: List<Attachment>;
        comments: List<FeedsV3CommentResponse>;
        feeds, filter_tags, interest_tags: List<String>;
        friend_reactions, latest_reactions, own_reactions: List<FeedsReactionResponse>;
        mentioned_users: List<UserResponse>;
        own_bookmarks: List<FeedsBookmarkResponse>;
        latest_shares: List<FeedsShareResponse>;
        collections: Map<FeedsEnrichedCollectionResponse>;
        reaction_groups: Map<FeedsReactionGroupResponse>;
        i18n: Map<String>;
        metrics: Map<i64>;
        custom, score_vars, search_data: Extra;
    }
    FeedsV3CommentResponse {
        id, object_id, object_type, parent_id, status, text: String;
        bookmark_count, downvote_count, reaction_count, reply_count, score, upvote_count: i64;
        confidence_score, controversy_score: Number;
        created_at, deleted_at, edited_at, updated_at: Timestamp;
        user: Box<UserResponse>;
        moderation: Box<ModerationV2Response>;
        mentioned_users: List<UserResponse>;
        latest_reactions, own_reactions: List<FeedsReactionResponse>;
        attachments: List<Attachment>;
        i18n: Map<String>;
        reaction_groups: Map<FeedsReactionGroupResponse>;
        custom: Extra;
    }
    FollowResponse {
        follower_role, push_preference, status: String;
        created_at, request_accepted_at, request_rejected_at, updated_at: Timestamp;
        source_feed, target_feed: Box<FeedResponse>;
        custom: Extra;
    }
    Location { lat, lng: Number; }
    MembershipLevelResponse {
        id, description, name: String;
        priority: i64;
        created_at, updated_at: Timestamp;
        tags: List<String>;
        custom: Extra;
    }
    NotificationComment { id, comment, user_id: String; attachments: List<Attachment>; }
    NotificationConfig { deduplication_window: String; track_read, track_seen: bool; }
    NotificationContext { target: Box<NotificationTarget>; trigger: Box<NotificationTrigger>; }
    NotificationParentActivity { id, text, r#type, user_id: String; attachments: List<Attachment>; }
    NotificationStatusResponse {
        unread, unseen: i64;
        last_read_at, last_seen_at: Timestamp;
        read_activities, seen_activities: List<String>;
    }
    NotificationTarget {
        id, name, text, r#type, user_id: String;
        comment: Box<NotificationComment>;
        parent_activity: Box<NotificationParentActivity>;
        attachments: List<Attachment>;
        custom: Extra;
    }
    NotificationTrigger { text, r#type: String; comment: Box<NotificationComment>; custom: Extra; }
    PinActivityResponse { duration, feed, user_id: String; created_at: Timestamp; activity: Box<ActivityResponse>; }
    PushNotificationConfig { enable_push: bool; push_types: List<String>; }
    RankingConfig { score, r#type: String; functions: Map<DecayFunctionConfig>; defaults: Extra; }
    Reaction {
        id, activity_id, kind, parent, user_id: String;
        score: Number;
        created_at, deleted_at, updated_at: Timestamp;
        user: Box<User>;
        target_feeds: List<String>;
        latest_children, own_children: Map<List<Reaction>>;
        children_counts, data, moderation, target_feeds_extra_data: Extra;
    }
    ShareResponse { activity_id: String; created_at: Timestamp; user: Box<UserResponse>; }
    SharedLocationResponseData {
        channel_cid, created_by_device_id, message_id, user_id: String;
        latitude, longitude: Number;
        created_at, end_at, updated_at: Timestamp;
        channel: Box<ChannelResponse>;
        message: Box<MessageResponse>;
    }
    SortParamRequest { field, r#type: String; direction: i64; }
    StoriesConfig { skip_watched, track_watched: bool; }
}
