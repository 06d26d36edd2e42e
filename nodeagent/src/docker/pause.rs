//! The sandbox image: one static program of ours, imported without any registry.

use bollard::{
    Docker, body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions},
};
use futures::TryStreamExt;

use super::engine_error;
use crate::error::{Error, Result};

static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
const REPOSITORY: &str = "skiff/pause";

/// The image's name; another program under the same name would be found stale, so the tag tells the content.
pub fn image() -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(PAUSE);
    let short: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{REPOSITORY}:{}-{short}", env!("CARGO_PKG_VERSION"))
}

/// Imports the image if the engine lacks it.
pub async fn ensure(docker: &Docker) -> Result<()> {
    let name = image();
    match docker.inspect_image(&name).await.map_err(engine_error) {
        Ok(_) => return Ok(()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let (repository, tag) = name.split_once(':').expect("the name is made with a tag");
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .changes(vec!["ENTRYPOINT [\"/pause\"]".to_owned()])
        .build();
    let archive = bytes::Bytes::from(tar_of("pause", 0o755, PAUSE));
    let import = docker.create_image(Some(options), Some(body_full(archive)), None);
    import.try_collect::<Vec<_>>().await.map_err(engine_error)?;
    Ok(())
}

/// Removes the image unless another node's containers use it; absent is well.
pub async fn remove(docker: &Docker) -> Result<()> {
    match docker.remove_image(&image(), None::<RemoveImageOptions>, None).await.map_err(engine_error) {
        Err(Error::Engine { status: 404 | 409, .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A tar archive (ustar) of one file.
fn tar_of(name: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = header.to_vec();
    out.extend_from_slice(content);
    // Files are padded to blocks; two empty blocks end the archive.
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_whole_blocks_with_a_valid_sum() {
        let tar = tar_of("pause", 0o755, b"hello");
        assert_eq!(tar.len(), 512 + 512 + 1024);
        let sum: u32 = tar[..512]
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        assert_eq!(std::str::from_utf8(&tar[148..154]).unwrap(), format!("{sum:06o}"));
        assert_eq!(&tar[512..517], b"hello");
    }
}
