use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testing::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(10);

/// Answers every byte with the same byte, and keeps what it has received.
struct Echo {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let keeps = Arc::clone(&keeps);
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        keeps.lock().unwrap().push(byte);
                        if stream.write_u8(byte).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, received }
    }
}

async fn echoes(stream: &mut TcpStream, byte: u8) -> io::Result<bool> {
    timeout(WITHIN, async {
        stream.write_u8(byte).await?;
        Ok(stream.read_u8().await? == byte)
    })
    .await
    .expect("the proxy forwards or hangs up, it never stalls")
}

#[tokio::test]
async fn the_proxy_forwards_until_it_is_told_to_cut() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address).await;
    let mut first = TcpStream::connect(proxy.address()).await.unwrap();
    let mut second = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut first, 1).await.unwrap());
    assert!(echoes(&mut second, 2).await.unwrap());

    proxy.cut();

    assert!(echoes(&mut first, 3).await.is_err());
    assert!(echoes(&mut second, 4).await.is_err());
    let mut third = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut third, 5).await.unwrap());
}

#[tokio::test]
async fn the_proxy_refuses_new_connections_and_keeps_the_old_ones() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address).await;
    let mut old = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut old, 1).await.unwrap());

    proxy.refuse(true);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut refused, 2).await.is_err());
    assert!(echoes(&mut old, 3).await.unwrap());

    proxy.refuse(false);
    let mut welcome = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut welcome, 4).await.unwrap());
}

#[tokio::test]
async fn a_lost_reply_means_that_the_server_did_what_the_client_never_heard_of() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_before_reply(2);

    assert!(echoes(&mut client, 1).await.unwrap());
    assert!(proxy.is_waiting_to_cut());
    assert!(echoes(&mut client, 2).await.is_err());

    assert!(!proxy.is_waiting_to_cut());
    assert_eq!(*echo.received.lock().unwrap(), [1, 2]);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echoes(&mut next, 3).await.unwrap());
}
