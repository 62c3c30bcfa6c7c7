//! What a sender is told.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::Reason;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Error,
    payload::{Batch, Refusal},
};

/// The answer to a batch: what was accepted, and one entry per record or reading that was not.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Answer {
    /// Records (reports or events) that Kafka has confirmed. A report counts when at least one of its readings was
    /// accepted.
    #[schema(example = 1)]
    pub accepted: usize,
    /// What was turned away. It lies on the rejects topic as well.
    pub rejected: Vec<Rejected>,
}

/// A record, or one reading of a record, that was turned away.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Rejected {
    /// The record's place in the body, from 0: element of the array, line, SenML record.
    pub index: usize,
    /// The metric when only this reading of the record was turned away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "secondary_supply_temp")]
    pub metric: Option<String>,
    /// Why, as a fixed name.
    #[schema(example = "unknown_facility")]
    pub reason: &'static str,
    /// What exactly is wrong and what was expected.
    #[schema(example = "facility ST-0009 is not in the registry")]
    pub detail: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// Why a request as a whole was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Why, as a fixed name: a reason as in `rejected`, or `busy`, `unavailable`, `unauthorized`, `unsupported`,
    /// `timeout`.
    #[schema(example = "busy")]
    pub reason: &'static str,
    /// What exactly is wrong.
    pub detail: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl Answer {
    /// The answer to a batch of which `accepted` records were confirmed: 202, or 400 when the body as a whole was not
    /// readable (413 when it was too large).
    pub fn response(accepted: usize, batch: &Batch) -> Response {
        let status = match batch.refused.first() {
            Some(refusal) if batch.unreadable && refusal.reason == Reason::TooLarge => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Some(_) if batch.unreadable => StatusCode::BAD_REQUEST,
            _ => StatusCode::ACCEPTED,
        };
        let rejected = batch.refused.iter().map(Rejected::from).collect();
        (status, Json(Answer { accepted, rejected })).into_response()
    }
}

impl From<&Refusal> for Rejected {
    fn from(refusal: &Refusal) -> Self {
        Rejected {
            index: refusal.index,
            metric: refusal.metric.clone(),
            reason: refusal.reason.name(),
            detail: refusal.detail.clone(),
            advice: refusal.reason.advice(),
        }
    }
}

/// A request that is not taken.
#[derive(Debug)]
pub struct Declined {
    pub status: StatusCode,
    pub problem: Problem,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u16>,
}

impl Declined {
    /// Too much at once: 429.
    pub fn busy(detail: String) -> Declined {
        let advice = "send the same request again after the time in Retry-After";
        Declined {
            status: StatusCode::TOO_MANY_REQUESTS,
            problem: Problem { reason: "busy", detail, advice },
            retry_after: Some(1),
        }
    }

    /// No place for another connection: 503.
    pub fn full(detail: String) -> Declined {
        Declined { status: StatusCode::SERVICE_UNAVAILABLE, ..Declined::busy(detail) }
    }

    /// Not possible now: 503.
    pub fn unavailable(detail: String) -> Declined {
        let advice = "send the same request again after the time in Retry-After";
        Declined {
            status: StatusCode::SERVICE_UNAVAILABLE,
            problem: Problem { reason: "unavailable", detail, advice },
            retry_after: Some(5),
        }
    }

    /// Not sent in time: 408.
    pub fn late(detail: String, advice: &'static str) -> Declined {
        Declined::wrong(StatusCode::REQUEST_TIMEOUT, "timeout", detail, advice)
    }

    /// The answer as it goes over a connection that is not served.
    pub fn as_message(&self) -> String {
        let body = serde_json::json!(self.problem).to_string();
        let retry = self.retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n{body}",
            self.status,
            body.len()
        )
    }

    /// Not possible like this.
    pub fn wrong(status: StatusCode, reason: &'static str, detail: String, advice: &'static str) -> Declined {
        Declined { status, problem: Problem { reason, detail, advice }, retry_after: None }
    }
}

impl From<Error> for Declined {
    fn from(error: Error) -> Self {
        match error {
            Error::Busy { .. } => Declined::busy(error.to_string()),
            Error::Refused { .. } | Error::Schemas(_) => Declined::wrong(
                StatusCode::UNPROCESSABLE_ENTITY,
                Reason::Refused.name(),
                error.to_string(),
                "split the batch to find the record, and correct it",
            ),
            _ => Declined::unavailable(error.to_string()),
        }
    }
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // What is left of the body would be taken for the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
