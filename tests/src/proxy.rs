//! A proxy before a service, that refuses or loses answers on demand: faults of one scenario that no other one sees.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
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
    down: AtomicBool,
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
        self.will.down.store(down, Ordering::SeqCst);
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
                if will.down.load(Ordering::SeqCst) {
                    will.refused.fetch_add(1, Ordering::SeqCst);
                    return client.write_all(UNAVAILABLE).await;
                }
                service.write_all(&asked[..length]).await?;
            }
            read = service.read(&mut answered) => {
                let length = read?;
                let lose = |left: u32| left.checked_sub(1);
                if length == 0 || will.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
                    will.lost.fetch_add(u32::from(length > 0), Ordering::SeqCst);
                    return Ok(());
                }
                client.write_all(&answered[..length]).await?;
            }
        }
    }
}
