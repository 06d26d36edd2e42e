//! What a container may do: pure.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::{
    cri::{Image, Security},
    error::{Error, Result},
};

/// The container's own context wins over the pod's.
pub fn security(spec: &PodSpec, container: &Container, image: &Image) -> Result<Security> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) {
        not_root(user, image)?;
    }
    let mut groups: Vec<i64> = pod.supplemental_groups.unwrap_or_default();
    groups.extend(pod.fs_group);
    let capabilities = own.capabilities.unwrap_or_default();
    let names = |list: Option<Vec<String>>| -> Vec<String> {
        list.unwrap_or_default().iter().map(|c| c.trim_start_matches("CAP_").to_owned()).collect()
    };
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.or(pod.seccomp_profile);
    Ok(Security {
        user: match (user, group) {
            (Some(user), Some(group)) => format!("{user}:{group}"),
            (Some(user), None) => user.to_string(),
            // A group alone goes with the image's user, by default root.
            (None, Some(group)) => {
                let of_image = image.user.split(':').next().filter(|u| !u.is_empty()).unwrap_or("0");
                format!("{of_image}:{group}")
            }
            (None, None) => String::new(),
        },
        groups,
        privileged,
        cap_add: names(capabilities.add),
        cap_drop: names(capabilities.drop),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privs: own.allow_privilege_escalation == Some(false) && !privileged,
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
        seccomp: profile.filter(|p| p.type_ == "Unconfined").map(|_| "unconfined".into()),
    })
}

fn not_root(user: Option<i64>, image: &Image) -> Result<()> {
    let of_image = image.user.split(':').next().unwrap_or_default();
    match (user, of_image.parse::<i64>()) {
        (Some(0), _) => Err(Error::Invalid("container's runAsUser breaks non-root policy".into())),
        (Some(_), _) => Ok(()),
        (None, Ok(0)) => Err(Error::Invalid("container has runAsNonRoot and image will run as root".into())),
        (None, Ok(_)) => Ok(()),
        (None, Err(_)) if of_image.is_empty() || of_image == "root" => {
            Err(Error::Invalid("container has runAsNonRoot and image will run as root".into()))
        }
        (None, Err(_)) => Err(Error::Invalid(format!(
            "container has runAsNonRoot and image has non-numeric user ({of_image}), cannot verify user is non-root"
        ))),
    }
}
