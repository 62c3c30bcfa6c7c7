//! `/openapi.json`: what is served, generated from the handlers.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{intake, status};

/// One report, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a form, the payload module reads it")]
pub enum Reports {
    /// One.
    One(Report),
    /// Several.
    Many(Vec<Report>),
}

/// What one object measured at one moment.
#[derive(Serialize, ToSchema)]
pub struct Report {
    /// Facility code of the registry.
    #[schema(example = "ST-0001")]
    facility: String,
    /// Device code, when a device of the facility was measured.
    #[schema(nullable)]
    device: Option<String>,
    /// When it was measured.
    observed_at: Time,
    /// The sender's own counter, at least 0.
    #[schema(nullable, minimum = 0)]
    sequence: Option<i64>,
    /// The readings.
    readings: Readings,
}

/// RFC 3339, or milliseconds since 1970. Text without an offset is taken in the configured time zone.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a form")]
pub enum Time {
    /// RFC 3339.
    #[schema(example = "2026-01-15T08:00:00+08:00")]
    Text(String),
    /// Milliseconds since 1970.
    Millis(i64),
}

/// Values by metric code of the catalogue, or a list of both.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a form")]
pub enum Readings {
    /// Values by metric code.
    #[schema(example = json!({"secondary_supply_temp": 45.2}))]
    Map(BTreeMap<String, Value>),
    /// Metric codes and values.
    List(Vec<Reading>),
}

/// One reading.
#[derive(Serialize, ToSchema)]
pub struct Reading {
    /// Metric code of the catalogue.
    #[schema(example = "secondary_supply_temp")]
    metric: String,
    /// The value in the metric's unit.
    value: Value,
}

/// A number; a number as text; true or false for states; null when it was not measured.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a form")]
pub enum Value {
    /// A number.
    Number(f64),
    /// A number as text.
    Text(String),
    /// A state.
    State(bool),
    /// Not measured.
    Missing,
}

/// A SenML pack (RFC 8428).
#[derive(Serialize, ToSchema)]
#[schema(example = json!([{"bn": "ST-0001:", "bt": 1_768_435_200, "n": "secondary_supply_temp", "u": "Cel", "v": 45.2}]))]
pub struct SenmlPack(Vec<BTreeMap<String, Value>>);

/// One event, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes a form")]
pub enum Events {
    /// One.
    One(Event),
    /// Several.
    Many(Vec<Event>),
}

/// A business event.
#[derive(Serialize, ToSchema)]
pub struct Event {
    /// The sender's id of the event; a second event with the same id and kind replaces the first.
    id: String,
    /// `complaint`, `repair`, `plan`, `order_feedback` or `manual_measurement`.
    #[schema(example = "complaint")]
    kind: String,
    /// Facility code of the registry.
    facility: String,
    /// When it happened; only plans may lie in the future.
    at: Time,
    /// The event's own fields. A repair that stops the supply has `stopped_area`, the area without heat in m², and, once heat
    /// flows again, `ended_at` (RFC 3339 with an offset, or ms since 1970): send it again then with the same id.
    #[schema(nullable)]
    fields: Option<BTreeMap<String, Value>>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nuanliu",
        description = "Readings and events of clean heating.",
        license(name = "Apache-2.0"),
        contact(name = "Nuanliu")
    ),
    paths(
        intake::reports,
        intake::events,
        status::health,
        status::ready,
        status::metrics,
        super::openapi::serve,
    )
)]
struct Document;

/// The OpenAPI document of what this connector serves.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = 200, content_type = "application/json", description = "OpenAPI 3.1")),
)]
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
