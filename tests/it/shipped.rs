//! What ships beside the crate: the documentation, in the repository and in the Debian package, and the images that are named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: impl AsRef<Path>) -> String {
    let name = name.as_ref();
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{}: {error}", name.display()))
}

/// What of the repository the package holds, and where it puts it.
fn assets() -> BTreeMap<PathBuf, PathBuf> {
    let manifest = text("Cargo.toml");
    let (_, assets) = manifest.split_once("\nassets = [\n").unwrap();
    let assets = assets.split("\n]").next().unwrap();
    let parts = assets
        .lines()
        .filter(|line| line.trim().starts_with('['))
        .map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>());
    parts
        .map(|parts| {
            let [from, to, _mode] = parts[..] else { panic!("{parts:?}") };
            let name = Path::new(from).file_name().unwrap();
            (from.into(), if to.ends_with('/') { Path::new(to).join(name) } else { to.into() })
        })
        .collect()
}

/// The links of a page to other files and to its own sections: file and section.
fn links(page: &str) -> Vec<(&str, &str)> {
    let within = page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let defined = page.lines().filter(|line| line.starts_with('[')).filter_map(|line| Some(line.split_once("]: ")?.1));
    let targets = within.chain(defined);
    let ours = targets.filter(|target| !target.contains("://"));
    ours.map(|target| target.split_once('#').unwrap_or((target, ""))).collect()
}

/// The file that a link leads to from a page.
fn target(page: &Path, link: &str) -> PathBuf {
    if link.is_empty() {
        return page.to_owned();
    }
    let mut target = PathBuf::new();
    for part in page.parent().unwrap().join(link).components() {
        match part {
            Component::ParentDir => assert!(target.pop(), "{}: {link} leads out", page.display()),
            part => target.push(part),
        }
    }
    target
}

/// The sections of a page, as links name them.
fn sections(page: &str) -> BTreeSet<String> {
    let mut code = false;
    let headings = page.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code && line.starts_with('#')
    });
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            kept.chars().filter(|c| c.is_alphanumeric() || "- _".contains(*c)).collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// Where each link of a page leads to, after it was found that its section is there.
fn targets_of(page: &Path) -> Vec<PathBuf> {
    let content = text(page);
    let targets = links(&content).into_iter().map(|(link, section)| {
        let target = target(page, link);
        if !section.is_empty() {
            let sections = sections(&text(&target));
            assert!(sections.contains(section), "{}: {link}#{section} is none of {sections:?}", page.display());
        }
        target
    });
    targets.collect()
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The pages in a directory of the repository.
fn pages(directory: &str) -> impl Iterator<Item = PathBuf> {
    let names = fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(move |name| Path::new(directory).join(name)).filter(|path| is_page(path))
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut followed = 0;
    for page in [".", ".github", "deploy", "src/docs"].into_iter().flat_map(pages) {
        for target in targets_of(&page) {
            assert!(root().join(&target).exists(), "{} links to {}", page.display(), target.display());
            followed += 1;
        }
    }
    assert!(followed > 30, "the pages were not read: {followed}");
}

#[test]
fn every_guide_is_in_the_package() {
    let assets = assets();
    for guide in pages("src/docs") {
        assert!(assets.contains_key(&guide), "{} is not in the package", guide.display());
    }
}

#[test]
fn the_readme_stays_a_front_door() {
    let lines = text("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines: what is not for a first visit belongs into src/docs");
}

#[test]
fn the_packages_documentation_links_only_to_what_it_holds() {
    let assets = assets();
    let held: BTreeSet<&PathBuf> = assets.values().collect();
    let pages: Vec<_> = assets.iter().filter(|(from, _)| is_page(from)).collect();
    assert!(pages.len() >= 5, "{pages:?}");
    for (from, page) in pages {
        for (link, _) in links(&text(from)) {
            let target = target(page, link);
            assert!(held.contains(&target), "{} links to {link}, which the package does not hold", page.display());
        }
    }
}

/// The page about scale computes with what the template makes of a task where nothing else is set.
#[test]
fn the_page_about_scale_has_the_defaults_of_the_template() {
    let (template, page) = (text("deploy/ecs/template.yaml"), text("deploy/SCALE.md"));
    let default = |parameter: &str| -> u64 {
        let (_, rest) = template.split_once(&format!("\n  {parameter}:\n")).expect("the parameter");
        let (_, value) = rest.split_once("Default:").expect("a default");
        value.lines().next().unwrap().trim().trim_matches('"').parse().unwrap()
    };
    let backlog = default("BacklogPerTask");
    let grouped = format!("{},{:03}", backlog / 1000, backlog % 1000);
    assert!(page.contains(&format!("| wait at {grouped} |")) && page.contains(&format!("The default of {grouped} ")));
    assert_eq!(default("Cpu"), 1024 / 4);
    assert!(page.contains("its default size (a quarter of a vCPU, "));
}

/// The images that the documentation builds, runs, tags and pushes.
fn documented_images(page: &str) -> Vec<String> {
    let commands = page.replace("\\\n", " ");
    let docker = commands.lines().map(str::trim).filter(|line| line.starts_with("docker "));
    let words = docker.flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let images = words.windows(2).filter(|pair| pair[0] != "--name").map(|pair| pair[1].to_owned());
        images.collect::<Vec<_>>()
    });
    words.filter(|word| word.rsplit('/').next().unwrap().split(':').next() == Some("stream-sqsd")).collect()
}

#[test]
fn every_image_is_named_by_an_exact_tag_or_a_digest() {
    let exact = |image: &str| {
        let tag = image.rsplit('/').next().unwrap().split_once(':').map(|(_, tag)| tag);
        let is_version = |tag: &str| tag.split('.').count() >= 3 && tag.starts_with(|c: char| c.is_ascii_digit());
        image == "scratch" || image.contains("@sha256:") || tag.is_some_and(is_version)
    };
    let behind = |file: &str, mark: &str| -> Vec<String> {
        let ends = |c: char| c.is_whitespace() || c == '"';
        text(file).split(mark).skip(1).map(|rest| rest.split(ends).next().unwrap().to_owned()).collect()
    };
    for (source, images) in [
        ("the Dockerfile", behind("deploy/container/Dockerfile", "\nFROM ")),
        ("compose.yaml", behind("localstack/compose.yaml", "image: ")),
        ("the task definition", behind("deploy/ecs/task-definition.json", "\"image\": \"")),
        ("the stack's command", behind("deploy/README.md", " Image=")),
        ("the documentation", documented_images(&text("deploy/README.md"))),
    ] {
        assert!(!images.is_empty(), "{source} names no image");
        for image in images {
            assert!(exact(&image), "{source}: {image} is not named by an exact tag");
        }
    }
    let others = fs::read_dir(root().join("deploy/container")).unwrap().count();
    assert_eq!(others, 1, "a file in deploy/container that this test does not read");
}
