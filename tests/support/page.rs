//! The pages of the documentation, as what a reader copies from them.

/// The code blocks below a heading of a page, up to the next one of its rank: kind and text, without the indentation of a step.
pub(crate) fn blocks(page: &str, heading: &str) -> Vec<(String, String)> {
    let (_, steps) = page.split_once(&format!("## {heading}\n")).unwrap();
    let (steps, _) = steps.split_once("\n## ").unwrap();
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in steps.lines() {
        let line = line.strip_prefix("   ").unwrap_or(line);
        match line.strip_prefix("```") {
            Some(kind) if !inside => {
                blocks.push((kind.to_owned(), String::new()));
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => blocks.last_mut().unwrap().1 += &format!("{line}\n"),
            None => {}
        }
    }
    blocks
}
