//! `--graph` and `--graphml`: a closure as a graph for other programs.

use std::collections::BTreeSet;
use std::io::Write;

use nix_base::{StoreDir, StorePath};
use nix_store_core::Error;

use super::closure::Seen;
use super::lookup::{Edges, Fault, Lookup};

/// Which language the graph is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// That of dot.
    Dot,
    /// GraphML.
    GraphMl,
}

/// Writes the closure of `roots`.
pub(super) fn write(
    lookup: &mut dyn Lookup,
    dir: &StoreDir,
    language: Language,
    roots: &[StorePath],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    out.extend_from_slice(match language {
        Language::Dot => DOT_HEAD,
        Language::GraphMl => GRAPHML_HEAD,
    });
    let mut pen = Pen {
        language,
        colours: COLOURS.iter().cycle(),
        out,
    };
    // Nix compat: always the first of those that are left, in the order of paths.
    let mut todo: BTreeSet<StorePath> = roots.iter().cloned().collect();
    let mut seen = Seen::default();
    let mut references = Vec::new();
    while let Some(path) = todo.pop_first() {
        let Some(place) = lookup.find(&path)? else {
            if language == Language::Dot {
                pen.dot_node(&path);
            }
            return Err(Error::not_valid(dir, &path).into());
        };
        if !seen.insert(place) {
            continue;
        }
        let size = lookup.nar_size(place)?;
        pen.node(&path, size);
        references.clear();
        lookup.follow(Edges::References, place, &mut references)?;
        for &reference in references.iter().filter(|&&other| other != place) {
            let reference = lookup.path(reference);
            pen.edge(&path, reference);
            todo.insert(reference.clone());
        }
    }
    out.extend_from_slice(match language {
        Language::Dot => b"}\n",
        Language::GraphMl => GRAPHML_TAIL,
    });
    Ok(())
}

struct Pen<'a> {
    language: Language,
    colours: std::iter::Cycle<std::slice::Iter<'static, &'static str>>,
    out: &'a mut Vec<u8>,
}

// Writing to memory can't fail.
impl Pen<'_> {
    fn node(&mut self, path: &StorePath, size: u64) {
        match self.language {
            Language::Dot => self.dot_node(path),
            Language::GraphMl => {
                let kind = match path.is_derivation() {
                    true => "derivation",
                    false => "output-path",
                };
                let _ = writeln!(
                    self.out,
                    "  <node id=\"{path}\">\n    <data key=\"narSize\">{size}</data>\n    \
                     <data key=\"name\">{}</data>\n    <data key=\"type\">{kind}</data>\n  \
                     </node>",
                    first_part(path)
                );
            }
        }
    }

    fn dot_node(&mut self, path: &StorePath) {
        let _ = writeln!(
            self.out,
            "\"{path}\" [label = \"{}\", shape = box, style = filled, fillcolor = \"#ff0000\"];",
            path.name()
        );
    }

    fn edge(&mut self, from: &StorePath, to: &StorePath) {
        let _ = match self.language {
            Language::Dot => {
                let colour = self.colours.next().unwrap_or(&"black");
                writeln!(self.out, "\"{to}\" -> \"{from}\" [color = \"{colour}\"];")
            }
            Language::GraphMl => {
                writeln!(self.out, "  <edge source=\"{from}\" target=\"{to}\"/>")
            }
        };
    }
}

// Nix compat: all up to the first dash and the dash; nothing if there is none.
fn first_part(path: &StorePath) -> &str {
    let name = path.name().as_str();
    name.find('-').map_or("", |dash| &name[..=dash])
}

const COLOURS: [&str; 6] = ["black", "red", "green", "blue", "magenta", "burlywood"];
const DOT_HEAD: &[u8] = b"digraph G {\n";
const GRAPHML_HEAD: &[u8] = b"<?xml version='1.0' encoding='utf-8'?>\n\
<graphml xmlns='http://graphml.graphdrawing.org/xmlns'\n    \
xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'\n    \
xsi:schemaLocation='http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd'>\n\
<key id='narSize' for='node' attr.name='narSize' attr.type='long'/>\
<key id='name' for='node' attr.name='name' attr.type='string'/>\
<key id='type' for='node' attr.name='type' attr.type='string'/>\
<graph id='G' edgedefault='directed'>\n";
const GRAPHML_TAIL: &[u8] = b"</graph>\n</graphml>\n";
