//! The receiving side (T 4, 6.1, 6.2): what a province runs, and what a city is tested against.
//!
//! Enters: pushes and queries of cities. Leaves: rows in a [`Store`], and answers with the document's codes.
//! Guarantees: nothing is stored unless appID, time, signature and every field of every row are right; a push is stored
//! whole or not at all.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Form, Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::FormRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use schemas::{
    Millis,
    exchange::{ExchangeTable, Tables},
};
use serde_json::{Value, json};

use super::{
    ledger::Row,
    signing::{Convention, Parameters},
};

/// Bytes of a push.
const BODY_LIMIT: usize = 16 << 20;

/// Where received rows go.
pub trait Store: Send + Sync + 'static {
    /// Stores rows that passed every check; a row with the same key replaces the earlier one.
    fn push(&self, table: &ExchangeTable, rows: Vec<Row>) -> impl Future<Output = Result<(), String>> + Send;

    /// The rows of a table that fulfil every condition (field, value).
    fn find(
        &self,
        table: &ExchangeTable,
        conditions: &[(String, String)],
    ) -> impl Future<Output = Result<Vec<Row>, String>> + Send;
}

/// A store in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<String, Vec<Row>>>>);

impl MemoryStore {
    /// The rows of a table, in the order in which they first came.
    #[must_use]
    pub fn rows(&self, table: &str) -> Vec<Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned().unwrap_or_default()
    }

    /// Puts rows in; a row with the same key replaces the earlier one.
    pub(super) fn put(&self, table: &ExchangeTable, rows: Vec<Row>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = tables.entry(table.table.clone()).or_default();
        for row in rows {
            let same = |other: &Row| table.key.iter().all(|key| other.get(key) == row.get(key));
            match stored.iter_mut().find(|other| same(other)) {
                Some(other) => *other = row,
                None => stored.push(row),
            }
        }
    }
}

impl Store for MemoryStore {
    async fn push(&self, table: &ExchangeTable, rows: Vec<Row>) -> Result<(), String> {
        self.put(table, rows);
        Ok(())
    }

    async fn find(&self, table: &ExchangeTable, conditions: &[(String, String)]) -> Result<Vec<Row>, String> {
        let fits = |row: &Row| conditions.iter().all(|(field, value)| text(row.get(field)) == *value);
        Ok(self.rows(&table.table).into_iter().filter(fits).collect())
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Who may push, and how what comes is checked.
pub struct Receiver<S> {
    /// The signing convention of every known appID.
    pub apps: BTreeMap<String, Convention>,
    /// How far a request's timestamp may be from our clock, s.
    pub tolerance: i64,
    /// Our clock, ms.
    pub clock: Box<dyn Fn() -> Millis + Send + Sync>,
    /// The tables.
    pub tables: &'static Tables,
    /// Where rows go.
    pub store: S,
}

/// The codes of T 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    ParametersInvalid,
    SignatureFailed,
    TimeLapse,
    UnallocatedApp,
    ServerError,
}

impl Code {
    fn number(self) -> (u32, &'static str, StatusCode) {
        match self {
            Code::ParametersInvalid => (10001, "Parameters Invalid", StatusCode::BAD_REQUEST),
            Code::SignatureFailed => (10002, "Signature Failed", StatusCode::UNAUTHORIZED),
            Code::TimeLapse => (10003, "Time Lapse", StatusCode::BAD_REQUEST),
            Code::UnallocatedApp => (10004, "Unallocated API appID", StatusCode::FORBIDDEN),
            Code::ServerError => (10005, "Interface Server Error", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// A refusal: code, what is wrong, and with which rows.
#[derive(Debug)]
struct Refusal(Code, String, Vec<Value>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, name, status) = self.0.number();
        let message = format!("{name}: {}", self.1);
        (status, Json(json!({"code": code, "message": message, "errors": self.2}))).into_response()
    }
}

fn refuse(code: Code, detail: impl Into<String>) -> Refusal {
    Refusal(code, detail.into(), Vec::new())
}

/// The routes: `pushdata` and `getdata` (also under `vl`, as the document prints the path), and `/api/resource`.
pub fn router<S: Store>(receiver: Receiver<S>) -> Router {
    let mut router = Router::new();
    for version in ["v1", "vl"] {
        router = router
            .route(&format!("/eUrbanMIS/api/{version}/pushdata"), post(push::<S>))
            .route(&format!("/eUrbanMIS/api/{version}/getdata"), get(query::<S>));
    }
    router
        .route("/api/resource", post(push::<S>))
        .route("/api/resource/{id}", get(resource::<S>).put(unchangeable).delete(unchangeable))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(receiver))
}

impl<S: Store> Receiver<S> {
    /// Checks who sent a request, when, and that nobody changed it.
    fn admit(&self, parameters: &Parameters) -> Result<(), Refusal> {
        let given = |name: &str| {
            let value = parameters.get(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| refuse(Code::ParametersInvalid, format!("{name} is missing")))
        };
        let (app, timestamp, sign) = (given("appID")?, given("timestamp")?, given("sign")?);
        let convention = self.apps.get(app);
        let convention =
            convention.ok_or_else(|| refuse(Code::UnallocatedApp, format!("{app} is not known")))?;
        let timestamp: i64 = timestamp.parse().map_err(|_| {
            refuse(Code::ParametersInvalid, format!("timestamp {timestamp:?} is not a number of seconds"))
        })?;
        let apart = (self.clock)().div_euclid(1000).saturating_sub(timestamp);
        if apart.abs() > self.tolerance {
            let detail = format!("timestamp is {apart} s behind our clock, {} s are allowed", self.tolerance);
            return Err(refuse(Code::TimeLapse, detail));
        }
        match convention.verify(parameters, sign) {
            Ok(true) => Ok(()),
            Ok(false) => Err(refuse(Code::SignatureFailed, "sign does not belong to these parameters")),
            Err(error) => {
                tracing::error!(app, error, "exchange receiver cannot verify signatures");
                Err(refuse(Code::ServerError, "signatures cannot be verified for now"))
            }
        }
    }

    fn table(&self, parameters: &Parameters) -> Result<&'static ExchangeTable, Refusal> {
        let name = |name: &str| parameters.get(name).map_or("", String::as_str);
        let (group, table) = (name("group"), name("table"));
        self.tables
            .get(group, table)
            .ok_or_else(|| refuse(Code::ParametersInvalid, format!("group {group:?} has no table {table:?}")))
    }
}

/// The rows of a push, all of which fit their table.
fn rows(table: &ExchangeTable, data: &str) -> Result<Vec<Row>, Refusal> {
    let rows: Vec<Row> = serde_json::from_str(data)
        .map_err(|e| refuse(Code::ParametersInvalid, format!("data is no JSON array of objects: {e}")))?;
    if rows.is_empty() {
        return Err(refuse(Code::ParametersInvalid, "data holds no row"));
    }
    let mut errors = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for problem in table.check(row) {
            errors.push(json!({"index": index, "field": problem.field, "reason": problem.detail}));
        }
    }
    match errors.first() {
        None => Ok(rows),
        Some(first) => {
            let detail = format!("row {} field {}: {}", first["index"], first["field"], first["reason"]);
            Err(Refusal(Code::ParametersInvalid, detail, errors))
        }
    }
}

async fn push<S: Store>(
    State(receiver): State<Arc<Receiver<S>>>,
    form: Result<Form<Parameters>, FormRejection>,
) -> Result<Response, Refusal> {
    let Form(parameters) = form.map_err(|e| refuse(Code::ParametersInvalid, e.body_text()))?;
    receiver.admit(&parameters)?;
    let table = receiver.table(&parameters)?;
    let rows = rows(table, parameters.get("data").map_or("", String::as_str))?;
    let accepted = rows.len();
    receiver.store.push(table, rows).await.map_err(|error| {
        tracing::error!(table = table.table, error, "exchange receiver cannot store rows");
        refuse(Code::ServerError, "the rows cannot be stored for now")
    })?;
    Ok(Json(json!({"code": 0, "message": "ok", "accepted": accepted})).into_response())
}

async fn query<S: Store>(
    State(receiver): State<Arc<Receiver<S>>>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refusal> {
    receiver.admit(&parameters)?;
    let table = receiver.table(&parameters)?;
    let conditions = conditions(table, parameters.get("where").map_or("", String::as_str))?;
    let rows = receiver.store.find(table, &conditions).await.map_err(|error| {
        tracing::error!(table = table.table, error, "exchange receiver cannot read rows");
        refuse(Code::ServerError, "the rows cannot be read for now")
    })?;
    Ok(Json(json!({"code": 0, "message": "ok", "data": rows})).into_response())
}

/// `BM=1 and TJSJ=2019-04-19 12:00:00` as fields and values.
fn conditions(table: &ExchangeTable, text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let parts = text.split(" and ").map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        let (field, value) = part
            .split_once('=')
            .ok_or_else(|| refuse(Code::ParametersInvalid, format!("where: {part:?} is not field=value")))?;
        let field = field.trim();
        if !table.fields.iter().any(|known| known.code == field) {
            return Err(refuse(
                Code::ParametersInvalid,
                format!("where: {} has no field {field}", table.table),
            ));
        }
        Ok((field.to_owned(), value.trim().trim_matches('\'').to_owned()))
    };
    parts.map(read).collect()
}

/// One row as a resource (T 4.3.1): the id is `group.table.key`.
async fn resource<S: Store>(
    State(receiver): State<Arc<Receiver<S>>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let refused = receiver.admit(&parameters);
    if let Err(refusal) = refused {
        return refusal.into_response();
    }
    let not_found = || (StatusCode::NOT_FOUND, Json(json!({"error": "Resource not found"}))).into_response();
    let mut parts = id.splitn(3, '.');
    let mut part = || parts.next().unwrap_or("");
    let (group, table, key) = (part(), part(), part());
    let Some(table) = receiver.tables.get(group, table) else { return not_found() };
    let conditions: Vec<_> = table.key.iter().take(1).map(|field| (field.clone(), key.to_owned())).collect();
    match receiver.store.find(table, &conditions).await.map(|rows| rows.into_iter().next()) {
        Ok(Some(row)) => Json(row).into_response(),
        Ok(None) => not_found(),
        Err(error) => {
            tracing::error!(table = table.table, error, "exchange receiver cannot read rows");
            let body = Json(json!({"error": "Internal server error"}));
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}

/// Basic data is neither changed nor deleted (T 4.3.3, 4.3.4): a correction is pushed as a new row of the same key.
async fn unchangeable() -> Response {
    let error = "basic data is neither changed nor deleted: push the corrected row";
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({"error": error}))).into_response()
}
