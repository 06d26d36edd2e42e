//! `/containerLogs`.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};

use super::{Answer, Site, failure, query, text};
use crate::{
    cri::{Chunk, LogQuery, State},
    error::{Error, Result},
};

/// The wait for a container that is about to start, when its log is followed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers with a container's log.
pub async fn serve(site: &Site, namespace: &str, pod: &str, container: &str, of: Option<&str>) -> Answer {
    match open(site, namespace, pod, container, of).await {
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
