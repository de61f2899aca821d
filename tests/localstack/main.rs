//! Tests over the wire, against LocalStack.
#[test]
fn trivial() {
    assert!(std::env::var("STREAM_SQSD_TEST_ENDPOINT").unwrap().starts_with("http://"));
    if std::env::var("BREAK").is_ok() {
        panic!("broken");
    }
    if std::env::var("HANG").is_ok() {
        std::thread::sleep(std::time::Duration::from_secs(100));
    }
}
