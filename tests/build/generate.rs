//! Derivations made up at random; the same seed gives the same ones.

use std::fmt::Write as _;

use test_support::{PathToAdd, nar};

/// The attributes of `count` derivations named `d0`, `d1` …; each may refer to earlier ones.
pub(crate) fn derivations(count: usize, seed: u64) -> String {
    let mut maker = Maker {
        random: Random::new(seed),
        made: Vec::new(),
        text: String::new(),
    };
    for number in 0..count {
        maker.next(number);
    }
    maker.text
}

struct Maker {
    random: Random,
    /// The outputs of each, and whether it is content-addressed or depends on what is.
    made: Vec<Vec<&'static str>>,
    text: String,
}

impl Maker {
    fn next(&mut self, number: usize) {
        let outputs = match self.random.below(20) {
            0..=8 => self.plain(number, ""),
            9 | 10 => self.plain(number, FLOATING),
            11 => self.floating_file(number),
            12 | 13 => self.structured(number),
            14 => self.pass_as_file(number),
            15 => self.fixed_flat(number),
            16 => self.fixed_recursive(number),
            17 => self.fixed_text(number),
            18 => self.graph(number),
            _ => self.environment(number),
        };
        self.made.push(outputs);
    }

    fn write(&mut self, number: usize, attributes: &str, script: &str) {
        // Scripts are free of what means something in such strings.
        let _ = writeln!(
            self.text,
            "d{number} = make \"d{number}\" {{ {attributes} }} ''\n{script}'';"
        );
    }

    /// Up to three outputs of earlier derivations as variables.
    fn inputs(&mut self) -> (String, usize) {
        let mut attributes = String::new();
        let count = match self.made.len() {
            0 => 0,
            _ => self.random.below(4),
        };
        for index in 0..count {
            let _ = write!(attributes, "in{index} = {}; ", self.some_output());
        }
        (attributes, count)
    }

    fn some_output(&mut self) -> String {
        let made = self.random.below(self.made.len());
        let outputs = &self.made[made];
        let output = outputs[self.random.below(outputs.len())];
        format!("d{made}.{output}")
    }

    /// Several outputs with all kinds of contents.
    fn plain(&mut self, number: usize, more: &str) -> Vec<&'static str> {
        const OUTPUTS: [&[&str]; 5] = [
            &["out"],
            &["out"],
            &["out", "dev"],
            &["lib", "out"],
            &["out", "bin", "doc"],
        ];
        let outputs = OUTPUTS[self.random.below(OUTPUTS.len())];
        let (inputs, count) = self.inputs();
        let list = outputs.iter().map(|name| format!("\"{name}\" "));
        let attributes = format!("{inputs}{more} outputs = [ {}];", list.collect::<String>());
        let mut script = String::new();
        for (index, output) in outputs.iter().enumerate() {
            let may_refer_to_itself = more.is_empty();
            self.contents(
                &mut script,
                output,
                count,
                &outputs[..index],
                may_refer_to_itself,
            );
        }
        self.write(number, &attributes, &script);
        outputs.to_vec()
    }

    /// Commands that fill one output. It may refer to those before it.
    fn contents(
        &mut self,
        script: &mut String,
        output: &str,
        inputs: usize,
        before: &[&str],
        itself: bool,
    ) {
        let salt = self.random.next();
        if self.random.below(5) == 0 {
            let _ = writeln!(script, "echo lone {salt:x} > ${output}");
            if self.random.below(2) == 0 {
                let _ = writeln!(script, "$b chmod 755 ${output}");
            }
            return;
        }
        let _ = writeln!(script, "$b mkdir -p ${output}/sub/deep; o=${output}");
        let _ = writeln!(script, "echo text {salt:x} > $o/text");
        for _ in 0..self.random.below(7) {
            let n = self.random.below(1000);
            let line = match self.random.below(15) {
                0 => format!("$b mkdir -p $o/empty-{n}"),
                1 => format!("echo run > $o/run-{n}; $b chmod +x $o/run-{n}"),
                2 => format!("$b ln -sf text $o/link-{n}"),
                3 => format!("$b ln -sf /nowhere/{n} $o/dangling-{n}"),
                4 if itself => format!("echo me: $o > $o/self-{n}"),
                5 if itself => format!("$b ln -sf $o/text $o/self-link-{n}"),
                6 if inputs > 0 => format!("echo uses $in{} > $o/uses-{n}", n % inputs),
                7 if inputs > 0 => format!("$b ln -sf $in{}/x $o/uses-link-{n}", n % inputs),
                8 if !before.is_empty() => {
                    format!("echo ${} > $o/other-{n}", before[n % before.len()])
                }
                9 => format!("echo x > $o/suid-{n}; $b chmod 4755 $o/suid-{n} || true"),
                10 => format!("echo x > $o/odd-{n}; $b chmod 600 $o/odd-{n}"),
                11 => format!("$b mkdir -p $o/sticky-{n}; $b chmod 1777 $o/sticky-{n}"),
                12 => format!("$b ln -f $o/text $o/hard-{n}"),
                13 => format!("$b head -c {} /dev/zero > $o/zero-{n}", n * 97),
                14 => format!("$b touch -d 2001-01-01 \"$o/name with $n ü {n}\""),
                _ => format!("$b printf 'a\\000b{n}\\377' > $o/sub/deep/binary-{n}"),
            };
            let _ = writeln!(script, "{line}");
        }
        // The hash part alone, and one that is cut, are found and not found.
        if inputs > 0 && self.random.below(4) == 0 {
            script.push_str("h=$(echo $in0 | $b cut -c12-43); echo $h-other > $o/hash-part\n");
            script.push_str("echo $h | $b cut -c1-31 > $o/cut\n");
        }
    }

    fn floating_file(&mut self, number: usize) -> Vec<&'static str> {
        let salt = self.random.below(50);
        self.write(
            number,
            r#"__contentAddressed = true; outputHashMode = "flat"; outputHashAlgo = "sha256";"#,
            &format!("echo floating {salt} > $out\n"),
        );
        vec!["out"]
    }

    fn structured(&mut self, number: usize) -> Vec<&'static str> {
        let (inputs, _) = self.inputs();
        let salt = self.random.next();
        let more = match self.random.below(4) {
            0 => "unsafeDiscardReferences.out = true;",
            1 => "outputChecks.out.maxSize = 100000000;",
            2 if !self.made.is_empty() => "exportReferencesGraph.graph = [ d0 ];",
            _ => "",
        };
        let attributes = format!(
            "{inputs}{more} __structuredAttrs = true; list = [ 1 2.5 \"a'b\" null true ]; \
             object = {{ x = \"y\"; n.m = 1; }}; \"odd-key\" = 1; text = \"{salt:x}\\n\\t\\\"\"; \
             words = [ \"a b\" \"c\" ]; map = {{ k = \"v\"; \"l m\" = 2; }}; none = null;"
        );
        self.write(
            number,
            &attributes,
            "out=$($b sed 's/.*\"outputs\":{\"out\":\"\\([^\"]*\\)\".*/\\1/' .attrs.json)\n\
             $b mkdir $out; $b cp .attrs.sh .attrs.json $out; $b env | $b sort | \
             $b grep -v NIX_BUILD_CORES > $out/env\n",
        );
        vec!["out"]
    }

    fn pass_as_file(&mut self, number: usize) -> Vec<&'static str> {
        let (inputs, _) = self.inputs();
        let salt = self.random.next();
        let attributes = format!(
            "{inputs}passAsFile = [ \"long\" ]; long = \"text {salt:x}\\nin a file\"; \
             empty = \"\";"
        );
        self.write(
            number,
            &attributes,
            "$b mkdir $out; $b cp $longPath $out/long; $b env | $b sort | \
             $b grep -v NIX_BUILD_CORES > $out/env; $b pwd > $out/pwd; $b id > $out/id\n\
             $b cat /etc/passwd /etc/group /etc/hosts > $out/etc; umask > $out/umask\n",
        );
        vec!["out"]
    }

    fn fixed_flat(&mut self, number: usize) -> Vec<&'static str> {
        let salt = self.random.next();
        let algorithm = ["sha256", "sha512", "sha1", "md5"][self.random.below(4)];
        let attributes = format!(
            "outputHashMode = \"flat\"; outputHashAlgo = \"{algorithm}\"; \
             outputHash = builtins.hashString \"{algorithm}\" \"fixed {salt:x}\\n\";"
        );
        self.write(
            number,
            &attributes,
            &format!("echo fixed {salt:x} > $out\n"),
        );
        vec!["out"]
    }

    fn fixed_recursive(&mut self, number: usize) -> Vec<&'static str> {
        let salt = self.random.next();
        let text = format!("tree {salt:x}\n");
        let archive = nar::directory(&[
            (b"link", nar::symlink(b"run")),
            (b"run", nar::executable(text.as_bytes())),
        ]);
        let hash = PathToAdd::from_nar(String::new(), archive).nar_hash;
        let attributes = format!(
            "outputHashMode = \"recursive\"; outputHashAlgo = \"sha256\"; outputHash = \"{hash}\";"
        );
        self.write(
            number,
            &attributes,
            &format!(
                "$b mkdir $out; echo tree {salt:x} > $out/run; $b chmod +x $out/run; \
                 $b ln -s run $out/link\n"
            ),
        );
        vec!["out"]
    }

    fn fixed_text(&mut self, number: usize) -> Vec<&'static str> {
        let salt = self.random.next();
        let attributes = format!(
            "outputHashMode = \"text\"; outputHashAlgo = \"sha256\"; \
             outputHash = builtins.hashString \"sha256\" \"text {salt:x}\\n\";"
        );
        self.write(number, &attributes, &format!("echo text {salt:x} > $out\n"));
        vec!["out"]
    }

    /// What is known of a closure, written to a file.
    fn graph(&mut self, number: usize) -> Vec<&'static str> {
        if self.made.is_empty() {
            return self.fixed_flat(number);
        }
        let of = self.some_output();
        let attributes = format!("exportReferencesGraph = [ \"graph\" {of} ];");
        self.write(number, &attributes, "$b cp graph $out\n");
        vec!["out"]
    }

    /// A forest of links, made by Nix itself.
    fn environment(&mut self, number: usize) -> Vec<&'static str> {
        let salt = self.random.below(1000);
        let _ = writeln!(
            self.text,
            "d{number} = raw \"d{number}\" {{ system = \"builtin\"; builder = \"builtin:buildenv\"; \
             manifest = \"${{tools}}/busybox\"; derivations = [ \"true\" 5 1 tools ]; \
             salt = {salt}; }};"
        );
        vec!["out"]
    }
}

const FLOATING: &str =
    r#"__contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";"#;

/// splitmix64: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
