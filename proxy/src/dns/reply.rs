//! From a query message to a reply message. Pure.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

use super::forward::Transport;
use super::zone::{self, Answer, Zone};
use crate::state::State;

/// The most bytes that a UDP answer has, whatever the client takes: more may not pass a network in one piece.
const MAX_UDP_BYTES: u16 = 1232;

/// Aliases of ours that are followed before a client has to ask again.
const MAX_ALIASES: usize = 8;

/// What becomes of a query.
#[derive(Debug)]
pub enum Outcome {
    /// It is answered.
    Ready(Message),
    /// It is not ours.
    Forward,
    /// The answer begins with these, and what is found by the lookup follows.
    Alias {
        /// From the name asked to the last one of ours.
        records: Vec<Record>,
        /// Asks for the name they lead to.
        lookup: Box<Message>,
    },
    /// It is no query, and gets no answer.
    Drop,
}

/// Decides about a query.
pub fn decide(zone: &Zone, state: &State, query: &Message) -> Outcome {
    if query.metadata.message_type != MessageType::Query {
        return Outcome::Drop;
    }
    if query.metadata.op_code != OpCode::Query {
        return Outcome::Ready(failure(query, ResponseCode::NotImp));
    }
    let [question] = query.queries.as_slice() else {
        return Outcome::Ready(failure(query, ResponseCode::FormErr));
    };
    if question.query_class() != DNSClass::IN {
        return Outcome::Forward;
    }
    let kind = question.query_type();
    let mut name = question.name().clone();
    let mut records = Vec::new();
    loop {
        match zone.answer(state, &name, kind) {
            Answer::Elsewhere if records.is_empty() => return Outcome::Forward,
            Answer::Elsewhere => return Outcome::Alias { records, lookup: Box::new(lookup(name, kind)) },
            _ if !state.is_complete() => return Outcome::Ready(failure(query, ResponseCode::ServFail)),
            Answer::Alias(target) => {
                records.push(zone::alias(&name, &target));
                if kind == RecordType::CNAME || records.len() == MAX_ALIASES {
                    return Outcome::Ready(found(query, records, Vec::new()));
                }
                name = target;
            }
            Answer::Records { answers, additionals } => {
                let none = answers.is_empty();
                records.extend(turned(answers, query.metadata.id));
                let mut reply = found(query, records, additionals);
                if none {
                    reply.authorities.push(zone.authority(&name));
                }
                return Outcome::Ready(reply);
            }
            Answer::Unknown => {
                let mut reply = found(query, records, Vec::new());
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.authorities.push(zone.authority(&name));
                return Outcome::Ready(reply);
            }
        }
    }
}

/// Clients mostly take the first address, so each query gets another one.
fn turned(mut records: Vec<Record>, id: u16) -> Vec<Record> {
    if !records.is_empty() {
        let by = usize::from(id) % records.len();
        records.rotate_left(by);
    }
    records
}

fn lookup(name: Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_BYTES);
    message.set_edns(edns);
    message
}

fn begun(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    reply
}

fn found(query: &Message, answers: Vec<Record>, additionals: Vec<Record>) -> Message {
    let mut reply = begun(query);
    reply.metadata.authoritative = true;
    reply.answers = answers;
    reply.additionals = additionals;
    reply
}

/// A reply that says only what went wrong.
pub fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut reply = begun(query);
    reply.metadata.response_code = code;
    reply
}

/// Our own records, with what a resolver said of the name that they lead to.
pub fn aliased(query: &Message, records: Vec<Record>, found_bytes: Option<&[u8]>) -> Message {
    let mut reply = found(query, records, Vec::new());
    match found_bytes.map(Message::from_vec) {
        Some(Ok(elsewhere)) => {
            reply.metadata.response_code = elsewhere.metadata.response_code;
            reply.answers.extend(elsewhere.answers);
        }
        _ => reply.metadata.response_code = ResponseCode::ServFail,
    }
    reply
}

/// The bytes of a reply, cut to what the client takes.
pub fn bytes(query: &Message, mut reply: Message, transport: Transport) -> Vec<u8> {
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        reply.set_edns(edns);
    }
    let limit = limit(query, transport);
    match reply.to_vec() {
        Ok(bytes) if bytes.len() <= limit => bytes,
        // What is only helpful goes first.
        Ok(_) if !reply.additionals.is_empty() => {
            reply.additionals.clear();
            self::bytes(query, reply, transport)
        }
        Ok(_) => reply.truncate().to_vec().unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "encoding an answer");
            failure(query, ResponseCode::ServFail).to_vec().unwrap_or_default()
        }
    }
}

/// The bytes a resolver sent, under the id that the client chose.
pub fn passed_on(query: &Message, mut bytes: Vec<u8>, transport: Transport) -> Vec<u8> {
    if bytes.len() > limit(query, transport) {
        return match Message::from_vec(&bytes) {
            Ok(reply) => {
                let mut cut = reply.truncate();
                cut.metadata.id = query.metadata.id;
                cut.to_vec().unwrap_or_default()
            }
            Err(_) => self::bytes(query, failure(query, ResponseCode::ServFail), transport),
        };
    }
    bytes[..2].copy_from_slice(&query.metadata.id.to_be_bytes());
    bytes
}

fn limit(query: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => {
            let taken = query.edns.as_ref().map_or(512, Edns::max_payload);
            usize::from(taken.clamp(512, MAX_UDP_BYTES))
        }
    }
}
