//! `/containerLogs`, as a body or as messages of a WebSocket.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt, stream::BoxStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp};
use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Site, failure, query, text, websocket};
use crate::{
    cri::{Chunk, LogQuery, State},
    error::{Error, Result},
};

/// The wait for a container that is about to start, when its log is followed.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a client may call a WebSocket that carries a log: each message is bytes, or their base64.
const PROTOCOLS: [(&str, bool); 2] = [("binary.k8s.io", true), ("base64.binary.k8s.io", false)];

/// Answers with a container's log.
pub async fn serve(
    site: &Site,
    namespace: &str,
    pod: &str,
    container: &str,
    request: Request<Incoming>,
) -> Answer {
    match open(site, namespace, pod, container, request.uri().query()).await {
        Ok((stream, limit)) if websocket::asked(&request) => socket(request, limited(stream, limit)),
        Ok((stream, limit)) => {
            let body = StreamBody::new(limited(stream, limit).map_ok(Frame::data)).boxed_unsync();
            let mut answer = Response::new(body);
            *answer.status_mut() = StatusCode::OK;
            let plain = http::HeaderValue::from_static("text/plain");
            answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
            answer
        }
        Err(Error::Invalid(message)) => text(StatusCode::BAD_REQUEST, message),
        Err(error) => failure(&error),
    }
}

/// The log as messages. The first is empty, as upstream's: it says that the connection stands.
fn socket(request: Request<Incoming>, mut stream: Stream) -> Answer {
    let offered = websocket::offered(&request);
    let chosen = PROTOCOLS.iter().find(|(name, _)| offered.iter().any(|offer| offer == name));
    if chosen.is_none() && !offered.is_empty() {
        return text(StatusCode::BAD_REQUEST, format!("none of the protocols {offered:?} is supported"));
    }
    let binary = chosen.is_none_or(|(_, binary)| *binary);
    let message = move |bytes: Bytes| match binary {
        true => Message::Binary(bytes),
        false => Message::Text(STANDARD.encode(&bytes).into()),
    };
    websocket::accept(request, chosen.map(|(name, _)| *name), move |socket| async move {
        let (mut sink, mut source) = socket.split();
        let write = async move {
            let mut sent = sink.send(message(Bytes::new())).await;
            while sent.is_ok()
                && let Some(Ok(bytes)) = stream.next().await
            {
                sent = sink.send(message(bytes)).await;
            }
            let _ = sink.send(websocket::goodbye()).await;
        };
        // What a client sends is not read; that it leaves ends a log that is followed.
        let left = async move { while let Some(Ok(_)) = source.next().await {} };
        tokio::select! {
            () = write => {}
            () = left => {}
        }
    })
}

type Stream = BoxStream<'static, Result<Bytes>>;

async fn open(
    site: &Site,
    namespace: &str,
    pod: &str,
    container: &str,
    of: Option<&str>,
) -> Result<(Stream, Option<u64>)> {
    let given: HashMap<String, String> = query(of).into_iter().collect();
    let number = |key: &str| -> Result<Option<u64>> {
        let Some(text) = given.get(key).filter(|t| !t.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Error::Invalid(format!("invalid {key}: {text:?}")))
    };
    let flag = |key: &str| given.get(key).is_some_and(|v| v == "true" || v == "1");
    let since = match (number("sinceSeconds")?, given.get("sinceTime").filter(|t| !t.is_empty())) {
        (Some(seconds), _) => {
            let seconds =
                i64::try_from(seconds).map_err(|_| Error::Invalid("invalid sinceSeconds".into()))?;
            Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok()
        }
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| Error::Invalid(format!("invalid sinceTime: {text:?}")))?)
        }
        _ => None,
    };
    let wanted = LogQuery {
        follow: flag("follow"),
        tail: number("tailLines")?,
        since,
        timestamps: flag("timestamps"),
    };
    let object = site.pod(namespace, pod)?;
    let spec = object.spec.clone().unwrap_or_default();
    let known =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == container);
    if !known {
        return Err(Error::Reference(format!("container {container} not found in pod {pod}")));
    }
    let mut instances = site.instances(&object, container).await?;
    if instances.is_empty() && wanted.follow {
        tokio::time::sleep(PATIENCE).await;
        instances = site.instances(&object, container).await?;
    }
    let begun = instances.iter().filter(|c| c.state != State::Created);
    let chosen = if flag("previous") { begun.into_iter().nth(1) } else { begun.into_iter().next() };
    let Some(chosen) = chosen else {
        let which = if flag("previous") { "previous terminated container" } else { "container" };
        return Err(Error::Invalid(if flag("previous") {
            format!("{which} \"{container}\" in pod \"{pod}\" not found")
        } else {
            format!("{which} \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating")
        }));
    };
    let stream = site.shared.runtime.logs(&chosen.id, &wanted).await?;
    let bytes = stream.map_ok(|chunk| match chunk {
        Chunk::Out(bytes) | Chunk::Err(bytes) => bytes,
    });
    Ok((bytes.boxed(), number("limitBytes")?))
}

/// Cuts the stream after so many bytes.
fn limited(stream: Stream, limit: Option<u64>) -> Stream {
    let Some(limit) = limit else { return stream };
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    stream
        .map_ok(move |mut bytes| {
            bytes.truncate(left);
            left -= bytes.len();
            (bytes, left > 0)
        })
        .scan(true, |more, item| {
            let go = *more;
            if let Ok((_, left)) = &item {
                *more = *left;
            }
            futures::future::ready(go.then(|| item.map(|(bytes, _)| bytes)))
        })
        .boxed()
}
