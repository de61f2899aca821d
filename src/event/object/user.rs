//! Users, their devices, settings and groups, which all products share.

use super::*;

objects! {
    DeliveryReceiptsResponse { enabled: bool; }
    DeviceResponse {
        id, disabled_reason, hardware_id, push_provider, push_provider_name, user_id: String;
        disabled, voip: bool;
        created_at: Timestamp;
    }
    PrivacySettingsResponse {
        delivery_receipts: Box<DeliveryReceiptsResponse>;
        read_receipts: Box<ReadReceiptsResponse>;
        typing_indicators: Box<TypingIndicatorsResponse>;
    }
    PushNotificationSettingsResponse { disabled: bool; disabled_until: Timestamp; }
    ReadReceiptsResponse { enabled: bool; }
    RequestInfo { ext, ip, sdk, r#type, user_agent: String; }
    TypingIndicatorsResponse { enabled: bool; }
    User { id: String; data: Extra; }
    UserGroup {
        id, created_by, description, name, team_id: String;
        app_pk: i64;
        created_at, updated_at: Timestamp;
        members: List<IdOr<UserGroupMember>>;
    }
    UserGroupMember {
        group_id, user_id: String;
        app_pk: i64;
        is_admin: bool;
        created_at: Timestamp;
    }
    UserGroupResponse {
        id, created_by, description, name, team_id: String;
        created_at, updated_at: Timestamp;
        members: List<IdOr<UserGroupMember>>;
    }
    UserResponse {
        id, image, language, name, role: String;
        avg_response_time, channel_unread_count, total_unread_count, unread_channels, unread_count,
        unread_thread_messages, unread_threads: i64;
        banned, bypass_moderation, invisible, online, shadow_banned: bool;
        ban_expires, channel_last_read_at, created_at, deactivated_at, deleted_at, last_active,
        revoke_tokens_issued_before, updated_at: Timestamp;
        privacy_settings: Box<PrivacySettingsResponse>;
        push_notifications: Box<PushNotificationSettingsResponse>;
        blocked_user_ids, teams: List<String>;
        devices: List<DeviceResponse>;
        teams_role: Map<String>;
        custom: Extra;
    }
    UserResponseCommonFields {
        id, image, language, name, role: String;
        avg_response_time, channel_unread_count, total_unread_count, unread_channels, unread_count,
        unread_thread_messages, unread_threads: i64;
        banned, online: bool;
        channel_last_read_at, created_at, deactivated_at, deleted_at, last_active,
        revoke_tokens_issued_before, updated_at: Timestamp;
        blocked_user_ids, teams: List<String>;
        teams_role: Map<String>;
        custom: Extra;
    }
    UserResponsePrivacyFields {
        id, image, language, name, role: String;
        avg_response_time, channel_unread_count, total_unread_count, unread_channels, unread_count,
        unread_thread_messages, unread_threads: i64;
        banned, invisible, online: bool;
        channel_last_read_at, created_at, deactivated_at, deleted_at, last_active,
        revoke_tokens_issued_before, updated_at: Timestamp;
        privacy_settings: Box<PrivacySettingsResponse>;
        blocked_user_ids, teams: List<String>;
        teams_role: Map<String>;
        custom: Extra;
    }
}
