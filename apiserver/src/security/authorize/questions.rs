//! 2,000 questions, made from a seed, whose answers a matcher that knows no index must agree with.

use rand::prelude::*;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::security::{Attributes, Authority, Authorizer, User, items, text, texts};

const SEED: u64 = 0x5EED_2026;
const QUESTIONS: usize = 2000;

const NAMESPACES: [&str; 4] = ["", "a", "b", "kube-system"];
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "delete", "*"];
const GROUPS: [&str; 4] = ["", "apps", "batch", "*"];
const RESOURCES: [&str; 8] =
    ["pods", "pods/log", "pods/*", "*/scale", "deployments", "secrets", "deployments/scale", "*"];
const NAMES: [&str; 3] = ["one", "two", "three"];
const URLS: [&str; 5] = ["/metrics", "/healthz", "/healthz/*", "/api/*", "*"];

struct World {
    rng: StdRng,
}

impl World {
    fn some(&mut self, of: &[&str], most: usize) -> Vec<String> {
        let count = self.rng.random_range(1..=most);
        (0..count).map(|_| (*of.choose(&mut self.rng).unwrap()).to_owned()).collect()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.rng).unwrap()
    }

    fn rule(&mut self, urls: bool) -> Value {
        if urls && self.rng.random_bool(0.2) {
            return json!({"verbs": self.some(&VERBS, 2), "nonResourceURLs": self.some(&URLS, 2)});
        }
        let mut rule = json!({
            "verbs": self.some(&VERBS, 4), "apiGroups": self.some(&GROUPS, 2), "resources": self.some(&RESOURCES, 4),
        });
        if self.rng.random_bool(0.3) {
            rule["resourceNames"] = self.some(&NAMES, 2).into();
        }
        rule
    }

    fn subject(&mut self) -> Value {
        match self.rng.random_range(0..3) {
            0 => json!({"kind": "User", "name": format!("user-{}", self.rng.random_range(0..4))}),
            1 => json!({"kind": "Group", "name": format!("group-{}", self.rng.random_range(0..3))}),
            _ => json!({"kind": "ServiceAccount", "namespace": self.one(&["a", "b"]), "name": "sa"}),
        }
    }

    fn objects(&mut self) -> Vec<Value> {
        let mut objects = Vec::new();
        for at in 0..40 {
            let namespace = self.one(&NAMESPACES);
            let cluster = namespace.is_empty();
            let count = self.rng.random_range(0..4);
            let rules: Vec<Value> = (0..count).map(|_| self.rule(cluster)).collect();
            let name = format!("role-{at}");
            objects.push(if cluster {
                json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
            } else {
                json!({"kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": rules})
            });
        }
        for at in 0..80 {
            let namespace = self.one(&NAMESPACES);
            let kind = if namespace.is_empty() || self.rng.random_bool(0.5) { "ClusterRole" } else { "Role" };
            let count = self.rng.random_range(0..4);
            let subjects: Vec<Value> = (0..count).map(|_| self.subject()).collect();
            // Some lead to roles that there are not.
            let role = json!({"kind": kind, "name": format!("role-{}", self.rng.random_range(0..44))});
            let name = format!("binding-{at}");
            objects.push(if namespace.is_empty() {
                json!({"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": role, "subjects": subjects})
            } else {
                json!({"kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
                    "roleRef": role, "subjects": subjects})
            });
        }
        objects.shuffle(&mut self.rng);
        objects
    }

    fn user(&mut self) -> User {
        let name = match self.rng.random_range(0..4) {
            0 => format!("system:serviceaccount:{}:sa", self.one(&["a", "b", "c"])),
            _ => format!("user-{}", self.rng.random_range(0..5)),
        };
        let count = self.rng.random_range(0..3);
        let groups: Vec<String> =
            (0..count).map(|_| format!("group-{}", self.rng.random_range(0..4))).collect();
        User { name, groups, ..User::default() }
    }
}

/// The naive matcher: every binding, every rule, every time, straight from the objects' text.
fn naive(objects: &[Value], asked: &Attributes<'_>) -> bool {
    objects.iter().any(|binding| {
        let place = text(binding, "/metadata/namespace");
        let applies = match text(binding, "/kind") {
            "ClusterRoleBinding" => true,
            "RoleBinding" => {
                asked.resource_request && !asked.namespace.is_empty() && place == asked.namespace
            }
            _ => false,
        };
        let named = items(binding, "/subjects").iter().any(|subject| match text(subject, "/kind") {
            "User" => text(subject, "/name") == asked.user.name,
            "Group" => asked.user.groups.iter().any(|group| group == text(subject, "/name")),
            _ => {
                let parts: Vec<&str> = asked.user.name.split(':').collect();
                parts == ["system", "serviceaccount", text(subject, "/namespace"), text(subject, "/name")]
            }
        });
        if !applies || !named {
            return false;
        }
        let role = objects.iter().find(|role| {
            let kind = text(binding, "/roleRef/kind");
            text(role, "/kind") == kind
                && text(role, "/metadata/name") == text(binding, "/roleRef/name")
                && (kind == "ClusterRole" || text(role, "/metadata/namespace") == place)
        });
        applies
            && named
            && role.is_some_and(|role| items(role, "/rules").iter().any(|rule| fits(rule, asked)))
    })
}

fn fits(rule: &Value, asked: &Attributes<'_>) -> bool {
    let holds = |field: &str, wanted: &str| {
        let list = texts(rule, field);
        list.contains(&"*".to_owned()) || list.contains(&wanted.to_owned())
    };
    if !holds("/verbs", asked.verb) {
        return false;
    }
    if !asked.resource_request {
        return texts(rule, "/nonResourceURLs").iter().any(|url| match url.split_once('*') {
            Some((start, "")) => asked.path.starts_with(start),
            _ => url == asked.path,
        });
    }
    let whole = match asked.subresource {
        "" => asked.resource.to_owned(),
        sub => format!("{}/{sub}", asked.resource),
    };
    let resources = texts(rule, "/resources");
    let wild = format!("*/{}", asked.subresource);
    let resource = resources.contains(&"*".to_owned())
        || resources.contains(&whole)
        || (!asked.subresource.is_empty() && resources.contains(&wild));
    let names = texts(rule, "/resourceNames");
    holds("/apiGroups", asked.group)
        && resource
        && (names.is_empty() || names.contains(&asked.name.to_owned()))
}

#[test]
fn two_thousand_questions_are_answered_as_a_naive_matcher_answers_them() {
    let mut world = World { rng: StdRng::seed_from_u64(SEED) };
    let (mut allowed, mut asked_of) = (0, 0);
    for round in 0..10 {
        let objects = world.objects();
        let mut authority = Authority::new();
        for object in &objects {
            authority.update(text(object, "/kind"), None, Some(object));
        }
        for _ in 0..QUESTIONS / 10 {
            let user = world.user();
            let (resource, subresource) = world
                .one(&[
                    "pods/",
                    "pods/log",
                    "pods/exec",
                    "deployments/",
                    "deployments/scale",
                    "secrets/",
                    "nodes/",
                ])
                .split_once('/')
                .unwrap();
            let asked = Attributes {
                user: &user,
                verb: world.one(&["get", "list", "watch", "create", "update", "delete", "patch"]),
                group: world.one(&["", "apps", "batch", "other"]),
                version: "v1",
                resource,
                subresource,
                namespace: world.one(&["", "a", "b", "c"]),
                name: world.one(&["", "one", "two", "four"]),
                path: world.one(&["/metrics", "/healthz", "/healthz/ping", "/api/v1", "/other"]),
                resource_request: world.rng.random_bool(0.85),
                ..Attributes::default()
            };
            let expected = naive(&objects, &asked);
            let answer = authority.authorize(&asked);
            assert_eq!(
                answer.is_allowed(),
                expected,
                "seed {SEED:#x}, round {round}: {asked:?}\n{answer:?}\n{objects:#?}"
            );
            asked_of += 1;
            allowed += usize::from(expected);
        }
        // What is taken back allows nothing any more.
        for object in &objects {
            authority.update(text(object, "/kind"), Some(object), None);
        }
        let everyone = Attributes {
            user: &world.user(),
            verb: "get",
            resource: "pods",
            resource_request: true,
            ..Attributes::default()
        };
        assert!(!authority.authorize(&everyone).is_allowed());
    }
    assert_eq!(asked_of, QUESTIONS);
    assert!(
        (150..1850).contains(&allowed),
        "the questions tell something: {allowed} of {asked_of} are allowed"
    );
}
