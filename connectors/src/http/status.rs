//! How the server is: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus::TextEncoder;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;

/// Whether reports can be taken now, and go on to where they belong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Kafka answers.
    kafka: bool,
    /// The registry was read to its end.
    registry: bool,
    /// The dataflow of this process delivers; true where there is none.
    delivery: bool,
    /// What holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Whether the process works; 503 asks for a restart.
#[utoipa::path(
    get,
    path = "/healthz",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "The process works"),
        (status = 503, body = String, content_type = "text/plain", description = "It has to be restarted"),
    ),
)]
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.intake.publisher.usable() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the kafka producer has failed for good\n")
    }
}

/// Whether reports can be taken now.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, body = Readiness, description = "Reports can be taken"),
        (status = 503, body = Readiness, description = "Not now"),
    ),
)]
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Readiness>) {
    let detail = shared.held.get().and_then(|held| held());
    let readiness = Readiness {
        kafka: shared.intake.publisher.reachable(),
        registry: shared.intake.registry_read(),
        delivery: detail.is_none(),
        detail,
    };
    let ready = readiness.kafka && readiness.registry && readiness.delivery;
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}

/// Prometheus metrics of the process.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = String, content_type = "text/plain", description = "Prometheus text format")),
)]
pub(super) async fn metrics() -> Response {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
