use stream_sqsd::prelude::*;

async fn forward(_event: serde_json::Value, _ctx: Context) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {
    let _ = Router::new().on(forward);
}
