//! An endpoint for the hooks that wait for an answer, with axum: before message send, custom commands, pending messages.
//!
//! `STREAM_API_KEY=… STREAM_API_SECRET=… cargo run --example hooks`, behind something that has a name and TLS. Then, in the
//! settings of the app: `before_message_send_hook_url` = `https://example.com/before-message-send`,
//! `custom_action_handler_url` = `https://example.com/commands/{type}`, and an event hook of the type `pending_message` with the
//! URL `https://example.com/pending`. `src/docs/hooks.md` says more.
//!
//! Stream waits for these answers while its user waits for Stream, and **where no answer comes in time, the message goes through
//! as it was written**. So every handler here has a time limit of its own that is shorter than Stream's.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use stream_sqsd::event::object::Attachment;
use stream_sqsd::hooks::{self, Answer, BeforeMessageSend, CustomCommand, HookError, PendingMessage, button, limits};
use stream_sqsd::stream::{StreamApi, StreamSettings};
use stream_sqsd::webhook::WebhookError;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What becomes of a text.
pub enum Verdict {
    /// It may be sent.
    Good,
    /// It may not.
    Bad,
    /// Good when it is written like this.
    Better(String),
}

/// Whoever decides: a word list, a model, a service of yours.
pub type Judge = fn(String) -> BoxFuture<'static, Verdict>;

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    /// The API secret of the app, which signs the requests.
    pub api_secret: Arc<str>,
    /// Who decides.
    pub judge: Judge,
    /// Pending messages on their way to be looked at.
    pub pending: mpsc::Sender<PendingMessage>,
}

/// How long the network may take, of the time that Stream waits: our limits end this much sooner than Stream's.
const WAY: Duration = Duration::from_millis(300);

/// The endpoint, by the path of each hook.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/before-message-send", post(before_message_send))
        // Stream puts the name of the command in the place of `{type}` in its setting.
        .route("/commands/{type}", post(command))
        // Stream puts these names behind the URL of the hook.
        .route("/pending/PassOnPendingMessage", post(pending))
        .route("/pending/DeletedPendingMessage", post(deleted))
        // What Stream sends stays under 256 KiB.
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(app)
}

/// Why there is no answer. Stream takes each of these for an acceptance, so count them: 401 means that the secret is
/// wrong and nothing is checked any more.
struct Refused(HookError);

impl From<HookError> for Refused {
    fn from(error: HookError) -> Self {
        Refused(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0 {
            HookError::Refused(WebhookError::Signature) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        eprintln!("hook refused with {status}: {}", self.0);
        status.into_response()
    }
}

/// The request, once its signature was found to be right. Nothing that is inflated is larger than 4 MiB.
fn verified<T: hooks::HookRequest>(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<T, HookError> {
    let signature = headers.get("x-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    hooks::verify_and_parse_up_to(body, signature, &app.api_secret, 4 << 20)
}

/// Stream tries once and waits for 1,500 ms, or 1 to 5,000 ms by `before_message_send_hook_attempt_timeout_ms`.
async fn before_message_send(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<Json<Answer>, Refused> {
    let request: BeforeMessageSend = verified(&app, &headers, &body)?;
    let mut message = request.message.unwrap_or_default();
    let Some(text) = message.text.clone() else { return Ok(Json(Answer::accept())) };
    let verdict = timeout(limits::BEFORE_MESSAGE_SEND - WAY, (app.judge)(text)).await;
    Ok(Json(match verdict {
        Ok(Verdict::Good) => Answer::accept(),
        Ok(Verdict::Bad) => Answer::refuse("This message does not meet our guidelines."),
        Ok(Verdict::Better(text)) => {
            message.text = Some(text);
            Answer::rewrite(message)
        }
        // Too late. Left to itself Stream would send the message unseen; `Answer::accept()` would say the same in time.
        Err(_) => Answer::refuse("This message could not be checked. Please send it again."),
    }))
}

/// Stream waits for 1 s. What takes longer is started here and told in the channel later.
async fn command(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<Json<Answer>, Refused> {
    let request: CustomCommand = verified(&app, &headers, &body)?;
    if request.command() != Some("ticket") {
        return Ok(Json(Answer::refuse("There is no such command.")));
    }
    let (args, pressed) = (request.args().unwrap_or_default(), request.form_value("action"));
    let mut message = request.message.unwrap_or_default();
    let answer = match pressed.as_deref() {
        None => {
            let mut create = button("action", "Create", "create");
            create.style = Some("primary".to_owned());
            let mut form = Attachment::default();
            form.title = Some(format!("Create a ticket: {args}?"));
            form.actions = Some(vec![create, button("action", "Cancel", "cancel")].into());
            Answer::rewrite(message).with_attachment(form)
        }
        Some("create") => {
            message.text = Some(format!("A ticket was created: {args}"));
            message.attachments = Some(Vec::new().into());
            Answer::rewrite(message)
        }
        Some(_) => Answer::refuse("No ticket was created."),
    };
    Ok(Json(answer))
}

/// A message that only its author sees until it is committed, for 3 days unless `timeout_ms` of the hook says otherwise. So
/// this only takes it in; there is time for the rest.
async fn pending(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refused> {
    let request: PendingMessage = verified(&app, &headers, &body)?;
    // Bounded, and never waited for. In production a queue that outlives the process stands here.
    Ok(match app.pending.try_send(request) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    })
}

/// A pending message was deleted, by its author or since its time was over.
async fn deleted(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refused> {
    verified::<PendingMessage>(&app, &headers, &body)?;
    Ok(StatusCode::OK)
}

/// Commits what is good; what is not is deleted by Stream when its time is over.
pub async fn commit(mut pending: mpsc::Receiver<PendingMessage>, judge: Judge, stream: StreamApi) {
    while let Some(request) = pending.recv().await {
        let Some(message) = request.message else { continue };
        let (Some(id), text) = (message.id, message.text.unwrap_or_default()) else { continue };
        if !matches!(judge(text).await, Verdict::Good) {
            continue;
        }
        // A refusal may mean that it was committed already: by another hook, or by a try whose answer was lost.
        if let Err(error) = stream.commit_message(&id).await {
            eprintln!("message {id} is not committed: {error}");
        }
    }
}

/// A word list.
fn judge(text: String) -> BoxFuture<'static, Verdict> {
    Box::pin(async move {
        match text {
            text if text.contains("spam") => Verdict::Bad,
            text if text.contains("darn") => Verdict::Better(text.replace("darn", "****")),
            _ => Verdict::Good,
        }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = StreamSettings::new(std::env::var("STREAM_API_KEY")?, std::env::var("STREAM_API_SECRET")?);
    let (sender, receiver) = mpsc::channel(1_000);
    let committing = commit(receiver, judge, StreamApi::new(&settings)?);
    let app = App { api_secret: settings.api_secret.into(), judge, pending: sender };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("hooks: http://{}/", listener.local_addr()?);
    let serving = axum::serve(listener, router(app)).with_graceful_shutdown(stream_sqsd::shutdown_signal());
    // It ends when nobody can send to it any more and all that was taken in is looked at.
    Ok(tokio::join!(serving.into_future(), committing).0?)
}
