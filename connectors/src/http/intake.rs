//! `POST /api/v1/reports` and `POST /api/v1/events`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    Shared,
    answer::{Answer, Declined, Problem},
    body::{self, Held, Unread},
    openapi,
};
use crate::payload::{self, Arrival, Batch, native, senml};

/// Bodies larger than this are taken apart on a thread of their own, so that other requests do not wait.
const LARGE: usize = 256 << 10;

/// The forms of a body, by its media type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Senml,
}

/// Takes reports.
#[utoipa::path(
    post,
    path = "/api/v1/reports",
    request_body(
        description = "One report, an array of reports, or one per line (NDJSON); or a SenML pack, in which a record's \
            name is facility:metric or facility:device:metric. Content-Encoding gzip is understood.",
        content(
            (openapi::Reports = "application/json"),
            (String = "application/x-ndjson"),
            (openapi::SenmlPack = "application/senml+json"),
        ),
    ),
    responses(
        (status = 202, body = Answer, description = "Kafka has confirmed all of it; perhaps nothing was accepted"),
        (status = 400, body = Answer, description = "The body as a whole is not readable"),
        (status = 401, body = Problem, description = "A bearer token is needed"),
        (status = 408, body = Problem, description = "The body did not arrive in time"),
        (status = 413, body = Answer, description = "The body is too large"),
        (status = 415, body = Problem, description = "The media type or encoding is not supported"),
        (status = 422, body = Problem, description = "Kafka refuses a record"),
        (status = 429, body = Problem, description = "Too much at once",
            headers(("retry-after" = u16, description = "Seconds"))),
        (status = 503, body = Problem, description = "Kafka does not confirm, or the registry is not read yet",
            headers(("retry-after" = u16, description = "Seconds"))),
    ),
)]
pub(super) async fn reports(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let forms = &[Form::Json, Form::Lines, Form::Senml];
    take(&shared, peer, request, forms, |form, payload, arrival| match form {
        Form::Json => native::parse(payload, arrival),
        Form::Lines => native::parse_lines(payload, arrival),
        Form::Senml => senml::parse(payload, arrival),
    })
    .await
}

/// Takes business events.
#[utoipa::path(
    post,
    path = "/api/v1/events",
    request_body(
        description = "One event, an array of events, or one per line (NDJSON). Content-Encoding gzip is understood.",
        content((openapi::Events = "application/json"), (String = "application/x-ndjson")),
    ),
    responses(
        (status = 202, body = Answer, description = "Kafka has confirmed all of it; perhaps nothing was accepted"),
        (status = 400, body = Answer, description = "The body as a whole is not readable"),
        (status = 401, body = Problem, description = "A bearer token is needed"),
        (status = 408, body = Problem, description = "The body did not arrive in time"),
        (status = 413, body = Answer, description = "The body is too large"),
        (status = 415, body = Problem, description = "The media type or encoding is not supported"),
        (status = 422, body = Problem, description = "Kafka refuses a record"),
        (status = 429, body = Problem, description = "Too much at once",
            headers(("retry-after" = u16, description = "Seconds"))),
        (status = 503, body = Problem, description = "Kafka does not confirm, or the registry is not read yet",
            headers(("retry-after" = u16, description = "Seconds"))),
    ),
)]
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    take(&shared, peer, request, &[Form::Json, Form::Lines], |form, payload, arrival| {
        payload::events(payload, arrival, form == Form::Lines)
    })
    .await
}

async fn take(
    shared: &Shared,
    peer: SocketAddr,
    request: Request,
    forms: &[Form],
    parse: impl FnOnce(Form, &Bytes, &Arrival) -> Batch + Send + 'static,
) -> Response {
    match taken(shared, peer, request, forms, parse).await {
        Ok(response) => response,
        Err(declined) => declined.into_response(),
    }
}

async fn taken(
    shared: &Shared,
    peer: SocketAddr,
    request: Request,
    forms: &[Form],
    parse: impl FnOnce(Form, &Bytes, &Arrival) -> Batch + Send + 'static,
) -> Result<Response, Declined> {
    authorize(&shared.settings.tokens, request.headers())?;
    let form = form(request.headers(), forms)?;
    if !shared.intake.registry_read() {
        return Err(Declined::unavailable("the registry is not read to its end yet".to_owned()));
    }
    let packed = body::is_packed(request.headers())?;
    let arrival = Arrival {
        at: jiff::Timestamp::now().as_millisecond(),
        origin: format!("http:{}", peer.ip()),
        zone: shared.zone.clone(),
        decimal: None,
        accept_received_at: shared.settings.accept_received_at,
        backfill: shared.settings.backfill,
        facility: None,
        device: None,
    };
    let (parts, body) = request.into_parts();
    let unread = match shared.receive(&parts.headers, body).await {
        Ok(received) => {
            // Only now: senders that are slow must not keep others from being served.
            let working = shared.work()?;
            let held = if packed { received.unpacked().await } else { Ok(received.into_held()) };
            match held {
                Ok(held) => {
                    let delivered = deliver(shared, held, form, parse, arrival).await;
                    drop(working);
                    return delivered;
                }
                Err(unread) => unread,
            }
        }
        Err(unread) => unread,
    };
    match unread {
        Unread::Declined(declined) => Err(declined),
        Unread::Refused { reason, detail, start } => {
            let batch = Batch::unreadable(&start, reason, detail);
            shared.intake.reject(&batch, &arrival).await?;
            Ok(Answer::response(0, &batch))
        }
    }
}

/// Takes a body apart and stores what is in it.
async fn deliver(
    shared: &Shared,
    held: Held,
    form: Form,
    parse: impl FnOnce(Form, &Bytes, &Arrival) -> Batch + Send + 'static,
    arrival: Arrival,
) -> Result<Response, Declined> {
    let mut batch = if held.bytes.len() > LARGE {
        let (bytes, arrival) = (held.bytes.clone(), arrival.clone());
        tokio::task::spawn_blocking(move || parse(form, &bytes, &arrival))
            .await
            .map_err(|error| Declined::unavailable(format!("the body was not read: {error}")))?
    } else {
        parse(form, &held.bytes, &arrival)
    };
    let delivered = shared.intake.deliver(&mut batch, &arrival, "http").await?;
    Ok(Answer::response(delivered.records, &batch))
}

/// Compares in a time that does not depend on how much of a token is right.
fn authorize(tokens: &[String], headers: &HeaderMap) -> Result<(), Declined> {
    let given =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let right = |token: &String| {
        given.is_some_and(|given| {
            given.len() == token.len()
                && given.iter().zip(token.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        })
    };
    if tokens.is_empty() || tokens.iter().filter(|token| right(token)).count() > 0 {
        return Ok(());
    }
    let detail = if given.is_some() { "the bearer token is not known" } else { "a bearer token is needed" };
    let advice = "send the header authorization: Bearer and a token of http.tokens";
    Err(Declined::wrong(StatusCode::UNAUTHORIZED, "unauthorized", detail.to_owned(), advice))
}

fn form(headers: &HeaderMap, allowed: &[Form]) -> Result<Form, Declined> {
    let given =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = match essence.as_str() {
        "application/json" => Some(Form::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Form::Lines),
        "application/senml+json" => Some(Form::Senml),
        _ => None,
    };
    form.filter(|form| allowed.contains(form)).ok_or_else(|| {
        Declined::wrong(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported",
            format!("content-type {given} is not supported here"),
            "send application/json, application/x-ndjson or, for reports, application/senml+json",
        )
    })
}
