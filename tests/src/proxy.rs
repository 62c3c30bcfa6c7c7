//! A proxy before a service, that refuses, loses, cuts or delays on demand: faults of one scenario that no other one sees.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answer while the service is said to be down.
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 14\r\nConnection: close\r\n\r\nout of service";

/// A running proxy.
pub struct Proxy {
    /// Its URL.
    pub url: String,
    will: Arc<Will>,
}

/// What the proxy shall do.
#[derive(Default)]
struct Will {
    /// Given to every request instead of the service's answer.
    answer: Mutex<Option<Vec<u8>>>,
    hanging: AtomicBool,
    read_only: AtomicBool,
    delay_ms: AtomicU64,
    cut_bodies: AtomicU32,
    cut_answers: AtomicU32,
    lose: AtomicU32,
    lost: AtomicU32,
    refused: AtomicU32,
}

impl Proxy {
    /// Starts a proxy before an HTTP service, such as `http://127.0.0.1:8123`.
    pub async fn before(service: &str) -> Proxy {
        let target = service.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let will = Arc::new(Will::default());
        let shared = Arc::clone(&will);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, will) = (target.clone(), Arc::clone(&shared));
                // A connection that breaks is what a proxy is for.
                tokio::spawn(async move { drop(serve(client, &target, &will).await) });
            }
        });
        Proxy { url, will }
    }

    /// Answers 503 to everything, from now on or no more.
    pub fn set_down(&self, down: bool) {
        *self.will.answer.lock().unwrap() = down.then(|| UNAVAILABLE.to_vec());
    }

    /// Answers every request itself with a status and a text, until it is set down or up.
    pub fn answer(&self, status: u16, text: &str) {
        let length = text.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
        *self.will.answer.lock().unwrap() = Some(answer.into_bytes());
    }

    /// Accepts connections and passes nothing on, from now on or no more.
    pub fn set_hanging(&self, hanging: bool) {
        self.will.hanging.store(hanging, Ordering::SeqCst);
    }

    /// Makes ClickHouse take every statement as one of a user whose profile says `readonly = 1`, from now on or no more.
    pub fn set_read_only(&self, read_only: bool) {
        self.will.read_only.store(read_only, Ordering::SeqCst);
    }

    /// Holds every answer back for so long, from now on.
    pub fn delay(&self, delay: Duration) {
        self.will.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Closes the connections of the next requests that have a body, in the middle of it.
    pub fn cut_bodies(&self, number: u32) {
        self.will.cut_bodies.store(number, Ordering::SeqCst);
    }

    /// Passes on half of the next answers and closes their connections.
    pub fn cut_answers(&self, number: u32) {
        self.will.cut_answers.store(number, Ordering::SeqCst);
    }

    /// Passes everything on, from now on.
    pub fn fair(&self) {
        self.set_down(false);
        self.set_hanging(false);
        self.set_read_only(false);
        self.delay(Duration::ZERO);
        self.lose_answers(0);
        self.cut_bodies(0);
        self.cut_answers(0);
    }

    /// How many bodies and answers are still to be cut.
    pub fn to_cut(&self) -> u32 {
        self.will.cut_bodies.load(Ordering::SeqCst) + self.will.cut_answers.load(Ordering::SeqCst)
    }

    /// Lets the service do the next requests, and closes their connections before the answer.
    pub fn lose_answers(&self, number: u32) {
        self.will.lose.store(number, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> u32 {
        self.will.lost.load(Ordering::SeqCst)
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u32 {
        self.will.refused.load(Ordering::SeqCst)
    }
}

impl Will {
    /// Where in what a client sends the parameters of a request begin, when they are to be added to; otherwise 0.
    fn parameters(&self, sent: &[u8]) -> usize {
        const METHOD: &[u8] = b"POST /?";
        if self.read_only.load(Ordering::SeqCst) && sent.starts_with(METHOD) { METHOD.len() } else { 0 }
    }
}

async fn serve(mut client: TcpStream, target: &str, will: &Will) -> std::io::Result<()> {
    let mut service = TcpStream::connect(target).await?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                while will.hanging.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let answer = will.answer.lock().unwrap().clone();
                if let Some(answer) = answer {
                    will.refused.fetch_add(1, Ordering::SeqCst);
                    return client.write_all(&answer).await;
                }
                let body = asked[..length].windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |end| end + 4);
                if length > body + 1 && strikes(&will.cut_bodies) {
                    return service.write_all(&asked[..(body + length) / 2]).await;
                }
                let (line, rest) = asked[..length].split_at(will.parameters(&asked[..length]));
                service.write_all(line).await?;
                if !line.is_empty() {
                    service.write_all(b"readonly=1&").await?;
                }
                service.write_all(rest).await?;
            }
            read = service.read(&mut answered) => {
                let length = read?;
                tokio::time::sleep(Duration::from_millis(will.delay_ms.load(Ordering::SeqCst))).await;
                if length > 0 && strikes(&will.cut_answers) {
                    return client.write_all(&answered[..length / 2]).await;
                }
                if length == 0 || strikes(&will.lose) {
                    will.lost.fetch_add(u32::from(length > 0), Ordering::SeqCst);
                    return Ok(());
                }
                client.write_all(&answered[..length]).await?;
            }
        }
    }
}

/// Takes one of what is left.
fn strikes(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
