//! One corpus of requests, sent to kube-apiserver and to this server in turn; what they answer differently is printed.
//!
//! The corpus is `tests/data/replay`: `objects.txt` has an object of every kind, which goes through every verb;
//! `*.http` have single requests. `known.txt` names the differences that stay, and why. Identities, times, versions and
//! what is drawn at random are made the same before answers are compared.

// What it finds is what it prints.
#![allow(clippy::print_stdout)]

mod answer;
mod corpus;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use regex::Regex;
use similar::{ChangeTag, TextDiff};

use crate::subject::{self, Subject};
use answer::Answer;
use corpus::Request;

/// How many lines of one difference are shown.
const SHOWN: usize = 24;

/// Sends the corpus to both servers; fails if they differ where they are not known to. `known` differences are printed
/// too where `explained` says so.
pub async fn run(bin: &Path, peer: &Path, etcd: &Path, only: &str, explained: bool) -> anyhow::Result<()> {
    let etcd = subject::etcd(etcd).await?;
    let upstream = subject::upstream(bin, peer, etcd, subject::Flow::Limited).await?;
    let ours = subject::skiff(bin, &["apiserver"], None).await?;
    let mut sides = [Side::new(&upstream).await?, Side::new(&ours).await?];
    let requests = requests(&mut sides[0]).await?;
    let known = known()?;
    let mut met = vec![false; known.len()];
    let (mut sent, mut differ, mut unknown) = (0, 0, 0);
    for request in requests.iter().filter(|request| request.always || request.title.contains(only)) {
        let [theirs, mine] = [sides[0].send(request).await?, sides[1].send(request).await?];
        sent += 1;
        if theirs.lines == mine.lines {
            continue;
        }
        differ += 1;
        let lines = difference(&theirs, &mine);
        let reason = known.iter().position(|known| known.explains(&request.title, &lines));
        match reason {
            Some(index) => met[index] = true,
            None => unknown += 1,
        }
        if reason.is_none() || explained {
            println!("=== {}{}", if reason.is_some() { "(known) " } else { "" }, request.title);
            println!("{} {}", request.method, request.path.chars().take(300).collect::<String>());
            show(&lines);
        }
    }
    println!("{sent} requests, {differ} answers differ, {unknown} of them not known to");
    for (known, _) in known.iter().zip(met).filter(|(_, met)| !met && only.is_empty()) {
        println!("named as known, but not met: {}", known.title);
    }
    if unknown > 0 {
        bail!("{unknown} answers differ from kube-apiserver's");
    }
    Ok(())
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/replay")
}

fn read(name: &str) -> anyhow::Result<String> {
    let path = directory().join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A difference that stays.
struct Known {
    /// A part of the request's title.
    title: String,
    /// What every line that differs matches; any line where nothing is said.
    lines: Option<Regex>,
}

impl Known {
    /// Reads `title | reason` or `title | /lines/ | reason`.
    fn read(line: &str) -> anyhow::Result<Self> {
        let mut parts = line.split(" | ");
        let title = parts.next().unwrap_or_default().to_owned();
        let lines = parts.next().and_then(|part| part.strip_prefix('/')?.strip_suffix('/'));
        Ok(Self { title, lines: lines.map(Regex::new).transpose().with_context(|| line.to_owned())? })
    }

    fn explains(&self, title: &str, lines: &[String]) -> bool {
        title.contains(&self.title)
            && self.lines.as_ref().is_none_or(|known| lines.iter().all(|line| known.is_match(line)))
    }
}

/// What is known to differ.
fn known() -> anyhow::Result<Vec<Known>> {
    let text = read("known.txt")?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(Known::read).collect()
}

/// The corpus, in the order that it is sent in. What kinds are called is asked of the first server.
async fn requests(side: &mut Side) -> anyhow::Result<Vec<Request>> {
    let mut requests = corpus::http(&read("setup.http")?);
    requests.iter_mut().for_each(|request| request.always = true);
    for line in read("objects.txt")?.lines().filter(|line| line.starts_with('/')) {
        let (collection, object) = line.split_once(' ').context("an object stands behind its path")?;
        let (group_version, plural) = corpus::place(collection);
        let root = if group_version.contains('/') { "/apis/" } else { "/api/" };
        let list = side.get(&format!("{root}{group_version}")).await?;
        let resources = list["resources"].as_array().context("a list of resources")?;
        let kind = resources.iter().find(|one| one["name"] == plural).map(|one| one["kind"].clone());
        let kind = kind.with_context(|| format!("{collection} is not served"))?;
        requests.extend(corpus::verbs(
            collection,
            object,
            &group_version,
            kind.as_str().unwrap_or_default(),
        )?);
    }
    for name in ["read.http", "write.http"] {
        requests.extend(corpus::http(&read(name)?));
    }
    Ok(requests)
}

/// The lines that only one of both has, theirs with `-` before them, ours with `+`.
fn difference(theirs: &Answer, mine: &Answer) -> Vec<String> {
    let (before, after) = (theirs.lines.join("\n"), mine.lines.join("\n"));
    let diff = TextDiff::from_lines(&before, &after);
    let changes = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
    changes
        .map(|change| {
            let sign = if change.tag() == ChangeTag::Delete { '-' } else { '+' };
            format!("{sign}{}", change.value().trim_end())
        })
        .collect()
}

fn show(lines: &[String]) {
    for line in lines.iter().take(SHOWN) {
        println!("  {}", line.chars().take(300).collect::<String>());
    }
    if lines.len() > SHOWN {
        println!("  … {} more", lines.len() - SHOWN);
    }
}

/// One of the servers, and what it answered last.
struct Side {
    server: crate::connection::Server,
    connection: Option<crate::connection::Connection>,
    last: String,
}

impl Side {
    async fn new(subject: &Subject) -> anyhow::Result<Self> {
        Ok(Self { server: subject.server.clone(), connection: None, last: String::new() })
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        let request = Request { method: "GET".into(), path: path.into(), ..Request::default() };
        let answer = self.send(&request).await?;
        serde_json::from_str(&self.last).with_context(|| format!("{path}: {}", answer.lines.join("\n")))
    }

    /// Sends a request, with what it takes from the last answer; on a new connection if the server closed the old one.
    async fn send(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let request = request.filled_in(&self.last);
        for attempt in 0.. {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.server.connect().await?,
            };
            match connection.exchange(&request.method, &request.path, &request.headers, request.bytes()).await
            {
                Ok((head, body)) => {
                    if head.headers.get("connection").is_none_or(|value| value != "close") {
                        self.connection = Some(connection);
                    }
                    self.last = String::from_utf8_lossy(&body).into_owned();
                    return Ok(Answer::of(&head, &body));
                }
                Err(error) if attempt > 0 => return Ok(Answer::none(&error)),
                Err(_) => {}
            }
        }
        bail!("a request is answered or not")
    }
}
