//! Requests to the receiver (T 4, 6.2): push and query, signed when they are sent.
//!
//! Enters: rows of one table. Leaves: what the answer means. Guarantees: every request carries all form fields; the
//! timestamp follows the receiver's clock once it has complained about ours.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use schemas::Millis;
use serde_json::Value;

use super::{
    ledger::Row,
    signing::{Convention, Parameters},
};

/// What an answer means for the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has them.
    Delivered {
        /// Its code.
        code: String,
    },
    /// 10001: the receiver will never take them as they are.
    Refused {
        /// Its code.
        code: String,
        /// Its reason.
        detail: String,
    },
    /// 10003: our clock and the receiver's differ; sign again.
    Clock {
        /// Its reason.
        detail: String,
    },
    /// 10002, 10004, 401, 403, 404: nothing will be taken until somebody changes the configuration.
    Hold {
        /// Its code.
        code: String,
        /// Its reason, and what to do.
        detail: String,
    },
    /// 10005, 5xx, timeouts: try again later.
    Retry {
        /// Its code; empty when there was no answer.
        code: String,
        /// What happened.
        detail: String,
        /// Whether the receiver may have the rows all the same.
        uncertain: bool,
    },
}

/// Where the receiver is and who we are to it.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    push_url: String,
    query_url: String,
    app_id: String,
    version: String,
    success_codes: Vec<String>,
    convention: Convention,
    clock_offset: AtomicI64,
}

impl Client {
    /// A client that does not connect yet. Paths are appended to `url` unless it already ends in `pushdata`.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(
        url: &str,
        app_id: &str,
        version: &str,
        success_codes: &[String],
        timeout: Duration,
        convention: Convention,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .build()
            .map_err(|e| format!("http client: {e}"))?;
        let base = url.trim_end_matches('/').trim_end_matches("/pushdata").to_owned();
        let base = if base.ends_with("/v1") { base } else { format!("{base}/eUrbanMIS/api/v1") };
        Ok(Client {
            http,
            push_url: format!("{base}/pushdata"),
            query_url: format!("{base}/getdata"),
            app_id: app_id.to_owned(),
            version: version.to_owned(),
            success_codes: success_codes.to_vec(),
            convention,
            clock_offset: AtomicI64::new(0),
        })
    }

    fn signed(&self, mut parameters: Parameters, now: Millis) -> Result<Parameters, String> {
        let at = now + self.clock_offset.load(Ordering::Relaxed);
        parameters.insert("appID".to_owned(), self.app_id.clone());
        parameters.insert("timestamp".to_owned(), at.div_euclid(1000).to_string());
        parameters.insert("version".to_owned(), self.version.clone());
        let sign = self.convention.sign(&parameters)?;
        parameters.insert("sign".to_owned(), sign);
        Ok(parameters)
    }

    /// Pushes rows of one table.
    pub async fn push(&self, group: &str, table: &str, rows: &[&Row], now: Millis) -> Answer {
        let data = match serde_json::to_string(rows) {
            Ok(data) => data,
            Err(e) => return Answer::Refused { code: String::new(), detail: e.to_string() },
        };
        let parameters = [("group", group.to_owned()), ("table", table.to_owned()), ("data", data)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value)).into();
        match self.signed(parameters, now) {
            Ok(form) => self.answer(self.http.post(&self.push_url).form(&form), now).await.0,
            Err(detail) => Answer::Hold { code: String::new(), detail },
        }
    }

    /// The receiver's rows of a table that fulfil `condition`, such as `BM=35010220201022000001`; `None` when it
    /// does not say.
    pub async fn query(&self, group: &str, table: &str, condition: &str, now: Millis) -> Option<Vec<Row>> {
        let parameters = [("group", group), ("table", table), ("where", condition)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let query = self.signed(parameters, now).ok()?;
        let (answer, body) = self.answer(self.http.get(&self.query_url).query(&query), now).await;
        let Answer::Delivered { .. } = answer else { return None };
        let rows = match body? {
            Value::Array(rows) => rows,
            Value::Object(mut body) => match body.remove("data")? {
                Value::Array(rows) => rows,
                Value::String(text) => serde_json::from_str(&text).ok()?,
                _ => return None,
            },
            _ => return None,
        };
        rows.into_iter().map(|row| if let Value::Object(row) = row { Some(row) } else { None }).collect()
    }

    async fn answer(&self, request: reqwest::RequestBuilder, now: Millis) -> (Answer, Option<Value>) {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                // A connection that was never made cannot have carried anything.
                let uncertain = !error.is_connect() && !error.is_builder();
                let detail = format!("no answer: {}", chain(&error.without_url()));
                return (Answer::Retry { code: String::new(), detail, uncertain }, None);
            }
        };
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).and_then(http_date);
        let body = match response.text().await {
            Ok(body) => body,
            Err(error) => {
                let detail = format!("answer cut short: {}", chain(&error.without_url()));
                return (Answer::Retry { code: status.to_string(), detail, uncertain: true }, None);
            }
        };
        let json: Option<Value> = serde_json::from_str(&body).ok();
        let answer = classify(status, json.as_ref(), &body, &self.success_codes);
        if let (Answer::Clock { .. }, Some(date)) = (&answer, date) {
            self.clock_offset.store(date - now, Ordering::Relaxed);
        }
        (answer, json)
    }

    /// By how much the receiver's clock is ahead of ours, ms, as far as it has complained.
    #[must_use]
    pub fn clock_offset(&self) -> Millis {
        self.clock_offset.load(Ordering::Relaxed)
    }
}

/// What an answer means (T 6.1): the code in the body first, then the status of HTTP.
fn classify(status: u16, json: Option<&Value>, body: &str, success_codes: &[String]) -> Answer {
    let field = |names: &[&str]| {
        let value = names.iter().find_map(|name| json?.get(name))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let code = field(&["code", "errcode", "status"]);
    let said = field(&["message", "msg", "error", "detail"]).unwrap_or_else(|| body.to_owned());
    let detail: String = said.chars().take(500).collect();
    let succeeded = code.as_ref().is_none_or(|code| success_codes.contains(code));
    match (code.as_deref(), status) {
        (Some("10001"), _) => Answer::Refused { code: "10001".to_owned(), detail },
        (Some(code @ "10002"), _) => hold(code, &detail, "check signing and its keys"),
        (Some("10003"), _) => Answer::Clock { detail },
        (Some(code @ "10004"), _) => hold(code, &detail, "check app_id"),
        (Some("10005"), _) => Answer::Retry { code: "10005".to_owned(), detail, uncertain: true },
        // Half an answer, or the page of some proxy: the receiver may have taken the rows, and can be asked.
        (None, 200..=299) if json.is_none() && !body.trim().is_empty() => {
            let detail = format!("the answer is not JSON: {detail}");
            Answer::Retry { code: status.to_string(), detail, uncertain: true }
        }
        (_, 200..=299) if succeeded => Answer::Delivered { code: code.unwrap_or_else(|| status.to_string()) },
        (_, 400 | 413 | 422) => Answer::Refused { code: status.to_string(), detail },
        (_, 408 | 409 | 425 | 429 | 500..=599) => {
            Answer::Retry { code: status.to_string(), detail, uncertain: status >= 500 || status == 408 }
        }
        (Some(code), 200..=299) => hold(code, &detail, "add the code to success_codes if it means success"),
        (_, status) => hold(&status.to_string(), &detail, "check url and app_id"),
    }
}

fn hold(code: &str, detail: &str, advice: &str) -> Answer {
    Answer::Hold { code: code.to_owned(), detail: format!("{detail}; {advice}") }
}

/// The header `Date`, in ms since 1970.
fn http_date(text: &str) -> Option<Millis> {
    let at = jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok()?;
    Some(at.timestamp().as_millisecond())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        said = format!("{said}: {inner}");
        source = inner.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(200, r#"{"code":0,"message":"ok"}"#, "delivered 0")]
    #[case(200, r#"{"code":"200"}"#, "delivered 200")]
    #[case(201, r#"{"id":"7"}"#, "delivered 201")]
    #[case(200, "", "delivered 200")]
    #[case(200, r#"{"code":10001,"message":"BSM"}"#, "refused 10001")]
    #[case(400, r#"{"error":"Invalid request parameters"}"#, "refused 400")]
    #[case(200, r#"{"code":"10002"}"#, "hold 10002")]
    #[case(401, r#"{"code":"10002"}"#, "hold 10002")]
    #[case(200, r#"{"code":10003}"#, "clock")]
    #[case(403, r#"{"code":10004}"#, "hold 10004")]
    #[case(403, "", "hold 403")]
    #[case(404, r#"{"error":"Resource not found"}"#, "hold 404")]
    #[case(200, r#"{"code":10005}"#, "retry 10005 true")]
    #[case(500, r#"{"error":"Internal server error"}"#, "retry 500 true")]
    #[case(503, "<html>", "retry 503 true")]
    #[case(429, "", "retry 429 false")]
    #[case(408, "", "retry 408 true")]
    #[case(409, "", "retry 409 false")]
    #[case(502, "<html>", "retry 502 true")]
    #[case(504, "", "retry 504 true")]
    #[case(413, "", "refused 413")]
    #[case(422, "{}", "refused 422")]
    #[case(401, "", "hold 401")]
    #[case(500, r#"{"code":10001}"#, "refused 10001")]
    #[case(200, r#"{"code":0,"mess"#, "retry 200 true")]
    #[case(200, "<html>please log in</html>", "retry 200 true")]
    #[case(200, r#"{"code":"77"}"#, "hold 77")]
    fn answers_are_classified(#[case] status: u16, #[case] body: &str, #[case] want: &str) {
        let json = serde_json::from_str(body).ok();
        let success = ["0", "200"].map(str::to_owned);
        let said = match classify(status, json.as_ref(), body, &success) {
            Answer::Delivered { code } => format!("delivered {code}"),
            Answer::Refused { code, .. } => format!("refused {code}"),
            Answer::Clock { .. } => "clock".to_owned(),
            Answer::Hold { code, .. } => format!("hold {code}"),
            Answer::Retry { code, uncertain, .. } => format!("retry {code} {uncertain}"),
        };
        assert_eq!(said, want);
    }

    #[test]
    fn the_date_header_is_read() {
        assert_eq!(http_date("Mon, 15 Jan 2024 08:00:00 GMT"), Some(1_705_305_600_000));
        assert_eq!(http_date("yesterday"), None);
    }
}
