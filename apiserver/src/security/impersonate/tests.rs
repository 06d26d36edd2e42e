use serde_json::{Value, json};

use super::*;
use crate::security::{Authority, rbac};

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

#[test]
fn headers_say_as_whom_and_are_taken_out() {
    let mut map = headers(&[
        ("impersonate-user", "jane"),
        ("impersonate-group", "a"),
        ("impersonate-group", "b"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-acme.com%2fscopes", "x"),
        ("impersonate-extra-acme.com%2fscopes", "y"),
        ("accept", "*/*"),
    ]);
    let wanted = take(&mut map).unwrap().unwrap();
    assert_eq!((wanted.name.as_str(), wanted.uid.as_str()), ("jane", "7"));
    assert_eq!(wanted.groups, ["a", "b"]);
    assert_eq!(wanted.extra["acme.com/scopes"], ["x", "y"]);
    assert_eq!(map.len(), 1, "{map:?}");
    assert_eq!(take(&mut map).unwrap(), None);
}

#[test]
fn nothing_is_wanted_of_no_one() {
    let table: [(&[(&'static str, &str)], &str); 3] = [
        (
            &[("impersonate-group", "g")],
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
        ),
        (
            &[("impersonate-uid", "7")],
            r#"requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string(nil), Extra:map[string][]string(nil)} without impersonating a user name"#,
        ),
        (
            &[("impersonate-user", ""), ("impersonate-extra-a", "b")],
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"b"}}} without impersonating a user name"#,
        ),
    ];
    for (list, expected) in table {
        let refused = take(&mut headers(list)).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (400, expected));
    }
}

/// An authority in which `boss` has these rules in the cluster.
fn authority(rules: Value) -> Authority {
    let mut authority = Authority::new();
    let role = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules});
    let binding = json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": rbac::GROUP, "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "boss"},
            {"kind": "User", "name": "system:serviceaccount:ns:agent"}]});
    authority.update("ClusterRole", None, Some(&role));
    authority.update("ClusterRoleBinding", None, Some(&binding));
    authority
}

async fn ask(authority: &Authority, who: &User, wanted: &User) -> Result<Impersonated, String> {
    let request = Attributes {
        user: who,
        verb: "list",
        resource: "pods",
        namespace: "ns",
        resource_request: true,
        ..Attributes::default()
    };
    check(wanted, &request, authority).await.map_err(|status| status.message)
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "resourceNames": names})
}

#[tokio::test]
async fn each_part_of_the_other_must_be_allowed() {
    let boss = User::new("boss", &[]);
    let all = authority(json!([
        rule(&["impersonate"], "", &["users", "groups", "serviceaccounts"], &[]),
        rule(&["impersonate"], AUTHENTICATION, &["uids", "userextras/scopes"], &[]),
    ]));
    let mut wanted = User::new("jane", &["dev"]);
    wanted.uid = "7".into();
    wanted.extra.insert("scopes".into(), vec!["a".into()]);
    let found = ask(&all, &boss, &wanted).await.unwrap();
    assert_eq!(found.constraint, "");
    assert_eq!(found.user.groups, ["dev", AUTHENTICATED]);
    assert_eq!((found.user.uid, found.user.extra.len()), ("7".into(), 1));

    let only_users = authority(json!([rule(&["impersonate"], "", &["users"], &["jane"])]));
    assert!(ask(&only_users, &boss, &User::new("jane", &[])).await.is_ok());
    for wanted in [User::new("joe", &[]), wanted, User::new("jane", &["dev"])] {
        let why = ask(&only_users, &boss, &wanted).await.unwrap_err();
        assert_eq!(
            why,
            r#"pods is forbidden: User "boss" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "ns""#,
            "the first mode that fits is told of"
        );
    }
    let account = User::new("system:serviceaccount:ns:sa", &[]);
    let found = ask(&all, &boss, &account).await.unwrap();
    assert_eq!(found.user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
    assert!(ask(&only_users, &boss, &account).await.is_err());
    let nobody = ask(&all, &boss, &User::new(ANONYMOUS, &[])).await.unwrap();
    assert_eq!(nobody.user.groups, [UNAUTHENTICATED]);
    let open = ask(&all, &boss, &User::new("jane", &[UNAUTHENTICATED])).await.unwrap();
    assert_eq!(open.user.groups, [UNAUTHENTICATED]);
}

#[tokio::test]
async fn being_another_may_be_limited_to_some_requests() {
    let boss = User::new("boss", &[]);
    let jane = User::new("jane", &[]);
    let on_pods = authority(json!([
        rule(&["impersonate:user-info"], AUTHENTICATION, &["users"], &["jane"]),
        rule(&["impersonate-on:user-info:list"], "", &["pods"], &[]),
    ]));
    let found = ask(&on_pods, &boss, &jane).await.unwrap();
    assert_eq!(found.constraint, "impersonate:user-info");
    let elsewhere = Attributes {
        user: &boss,
        verb: "list",
        resource: "secrets",
        namespace: "ns",
        resource_request: true,
        ..Attributes::default()
    };
    let why = check(&jane, &elsewhere, &on_pods).await.unwrap_err().message;
    assert_eq!(
        why,
        r#"secrets is forbidden: User "boss" cannot impersonate-on:user-info:list resource "secrets" in API group "" in the namespace "ns""#
    );
    let masters = authority(json!([rule(&["*"], "*", &["*"], &[])]));
    let found = ask(&masters, &boss, &User::new("jane", &[MASTERS])).await.unwrap();
    assert_eq!(found.constraint, "", "only the whole right leads to the privileged group");
}

#[tokio::test]
async fn an_agent_may_be_the_node_that_it_runs_on() {
    let mut agent = User::new("system:serviceaccount:ns:agent", &[]);
    agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
    let own = authority(json!([
        rule(&["impersonate:associated-node"], AUTHENTICATION, &["nodes"], &[]),
        rule(&["impersonate-on:associated-node:list"], "", &["pods"], &[]),
    ]));
    let found = ask(&own, &agent, &User::new("system:node:n1", &[])).await.unwrap();
    assert_eq!(found.user.groups, [NODES, AUTHENTICATED]);
    assert_eq!(found.constraint, "impersonate:associated-node");
    assert!(ask(&own, &agent, &User::new("system:node:n2", &[])).await.is_err());
    assert!(ask(&own, &User::new("boss", &[]), &User::new("system:node:n1", &[])).await.is_err());
}
