use stream_sqsd::prelude::*;

async fn forward(_event: Event, _ctx: Context) -> Result<(), HandlerError> {
    Ok(())
}

fn main() {
    let _ = Router::new().on(forward);
}
