//! Our own client of receives and deletes beside the SDK: what it asks, what it makes of answers, and when it gives way.
