//! Pods as tests write and watch them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Cluster, Engine, eventually};

/// The image of a pod that names none: busybox with all its applets. Only the engine has it.
pub const BUSYBOX: &str = "busybox:1";

/// An event, as far as it explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Which part of the object.
    pub field_path: String,
}

/// The root of an image with busybox and all its applets.
pub fn busybox_root(dir: &Path) -> PathBuf {
    let root = dir.join("busybox");
    for folder in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(folder)).expect("a folder can be made");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is installed");
    let applets = crate::output(std::process::Command::new("/bin/busybox").arg("--list"));
    for applet in applets.lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link can be made");
    }
    let users = "root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000:web:/:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), users).expect("a file can be written");
    std::fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\n").expect("a file can be written");
    root
}

/// Gives the engine [`BUSYBOX`].
pub fn import_busybox(engine: &Engine) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    engine.import(&busybox_root(dir.path()), &["ENV PATH=/bin", "ENV FROM_IMAGE=yes"], BUSYBOX);
}

/// A pod; its containers are busybox where they name no image, and it ends soon when asked to.
pub fn pod(name: &str, mut spec: Value) -> Value {
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = json!(BUSYBOX);
            }
        }
    }
    if spec["initContainers"].is_null() {
        spec.as_object_mut().expect("a spec is an object").remove("initContainers");
    }
    if spec["terminationGracePeriodSeconds"].is_null() {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } }, "spec": spec })
}

/// A command line of the shell as a container's command.
pub fn shell(script: &str) -> Value {
    json!(["sh", "-c", script])
}

/// A pod with one container that runs this in the shell.
pub fn shell_pod(name: &str, script: &str) -> Value {
    pod(name, json!({ "containers": [{ "name": "c", "command": shell(script) }] }))
}

impl Cluster {
    /// Applies several objects.
    pub fn apply_all(&self, objects: &[Value]) {
        self.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
    }

    /// A pod as it is.
    pub fn pod(&self, name: &str) -> Value {
        self.get(&["pod", name])
    }

    /// Waits until `look` finds something in a pod.
    pub fn until_pod<T>(
        &self,
        name: &str,
        what: &str,
        seconds: u64,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        eventually(&format!("pod {name}: {what}"), seconds, || {
            let pod = self.pod(name);
            look(&pod).ok_or_else(|| format!("{}\n{:#?}", pod["status"], self.told(name)))
        })
    }

    /// Waits until a pod is ready.
    pub fn until_ready(&self, name: &str, seconds: u64) -> Value {
        self.until_pod(name, "ready", seconds, |pod| crate::is_ready(pod).then(|| pod.clone()))
    }

    /// Waits until a pod has ended, and answers with it.
    pub fn until_phase(&self, name: &str, phase: &str, seconds: u64) -> Value {
        self.until_pod(name, phase, seconds, |pod| (pod["status"]["phase"] == phase).then(|| pod.clone()))
    }

    /// Waits until a pod is gone.
    pub fn until_gone(&self, name: &str, seconds: u64) {
        eventually(&format!("the end of pod {name}"), seconds, || {
            match self.try_ctl(&["get", "pod", name]) {
                Err(said) if said.contains("NotFound") => Ok(()),
                Ok(said) | Err(said) => Err(said),
            }
        });
    }

    /// The events about a pod.
    pub fn told(&self, name: &str) -> Vec<Told> {
        let selector = format!("involvedObject.kind=Pod,involvedObject.name={name}");
        let events = self.get(&["events", "--field-selector", &selector]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told = |event: &Value| Told {
            kind: text(&event["type"]),
            reason: text(&event["reason"]),
            message: text(&event["message"]),
            field_path: text(&event["involvedObject"]["fieldPath"]),
        };
        events["items"].as_array().into_iter().flatten().map(told).collect()
    }

    /// Waits until an event about a pod has this type and reason, and a message with this part.
    pub fn until_told(&self, name: &str, kind: &str, reason: &str, part: &str, seconds: u64) -> Told {
        eventually(&format!("an event {kind} {reason} {part:?} about {name}"), seconds, || {
            let all = self.told(name);
            let found = all.iter().find(|e| e.kind == kind && e.reason == reason && e.message.contains(part));
            found.cloned().ok_or_else(|| format!("{all:#?}"))
        })
    }

    /// Waits until `ctl` with these words prints all of these parts, and answers with what it printed. For what follows
    /// a state in its own time: events, tables of pods that go on.
    pub fn until_printed(&self, words: &[&str], parts: &[&str]) -> String {
        eventually(&format!("{parts:?} from ctl {}", words.join(" ")), 30, || {
            let printed = self.try_ctl(words)?;
            if parts.iter().all(|part| printed.contains(part)) { Ok(printed) } else { Err(printed) }
        })
    }

    /// Waits until `ctl logs` with these words answers exactly this. A container that runs has not yet written, and the
    /// engine carries what is written into its file in its own time.
    pub fn until_logged(&self, words: &[&str], expected: &str) {
        eventually(&format!("the log {expected:?} of {}", words.join(" ")), 30, || {
            let seen = self.try_ctl(&[&["logs"], words].concat())?;
            if seen == expected { Ok(()) } else { Err(seen) }
        });
    }

    /// What a command line of the shell says in a pod's container.
    pub fn sh(&self, pod: &str, container: &str, script: &str) -> String {
        self.ctl(&["exec", pod, "-c", container, "--", "sh", "-c", script])
    }
}

/// A container's status, of any list.
pub fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container).unwrap_or(&Value::Null)
}

/// How often a container was started again.
pub fn restarts(pod: &Value, container: &str) -> u64 {
    status(pod, container)["restartCount"].as_u64().unwrap_or_default()
}

/// Why a container waits.
pub fn waiting<'a>(pod: &'a Value, container: &str) -> &'a str {
    status(pod, container)["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

/// The engine's name of a container.
pub fn container_id(pod: &Value, container: &str) -> String {
    let id = status(pod, container)["containerID"].as_str().unwrap_or_default();
    id.trim_start_matches("docker://").to_owned()
}
