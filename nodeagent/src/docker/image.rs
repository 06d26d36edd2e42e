//! Images of the engine.

use bollard::{
    Docker,
    auth::DockerCredentials,
    query_parameters::{CreateImageOptionsBuilder, ListImagesOptions},
};
use futures::TryStreamExt;

use super::engine_error;
use crate::{
    cri::{Credentials, Image},
    error::Result,
};

/// An image, if present.
pub async fn find(docker: &Docker, name: &str) -> Result<Option<Image>> {
    match docker.inspect_image(name).await.map_err(engine_error) {
        Ok(found) => Ok(Some(Image {
            id: found.id.unwrap_or_default(),
            tags: found.repo_tags.unwrap_or_default(),
            digests: found.repo_digests.unwrap_or_default(),
            size: found.size.unwrap_or_default(),
            user: found.config.and_then(|c| c.user).unwrap_or_default(),
        })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fetches an image.
pub async fn pull(docker: &Docker, name: &str, credentials: Option<Credentials>) -> Result<()> {
    let options = CreateImageOptionsBuilder::default().from_image(name).build();
    let credentials = credentials.map(|c| DockerCredentials {
        username: Some(c.username),
        password: Some(c.password),
        serveraddress: Some(c.server),
        ..Default::default()
    });
    docker
        .create_image(Some(options), None, credentials)
        .try_for_each(|_| async { Ok(()) })
        .await
        .map_err(engine_error)
}

/// All images that have a name.
pub async fn list(docker: &Docker) -> Result<Vec<Image>> {
    let found = docker.list_images(None::<ListImagesOptions>).await.map_err(engine_error)?;
    Ok(found
        .into_iter()
        .map(|i| Image {
            id: i.id,
            tags: i.repo_tags,
            digests: i.repo_digests,
            size: i.size,
            user: String::new(),
        })
        .collect())
}
