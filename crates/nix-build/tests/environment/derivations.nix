  # What a builder sees is copied to /dump, a directory that outlives the build.
  dump = name: attributes: make name attributes ''
    d=/dump/${name}
    $b mkdir -p $d/files $d/modes
    $b cat /proc/$$/environ > $d/env
    $b cat /proc/$$/cmdline > $d/args
    $b pwd > $d/directory
    for f in .* *; do
      if [ -f "$f" ]; then
        $b cp "$f" "$d/files/$f"
        $b stat -c %a "$f" > "$d/modes/$f"
      fi
    done
    for o in ${toString (map (o: placeholder o) (attributes.outputs or [ "out" ]))}; do
      $b mkdir $o
    done
  '';
  structured = name: attributes: dump name ({ __structuredAttrs = true; } // attributes);
  floating = {
    __contentAddressed = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
  };
  # The hash of an empty directory.
  fixed = {
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = "0sjjj9z1dhilhpc8pq4154czrb79z9cm044jvn75kxcjv6v5l2m5";
    impureEnvVars = [ "FOO" "UNSET" "HOME" "TERM" "PWD" "NIX_BUILD_TOP" "PATH" ];
    FOO = "own";
  };
  text = builtins.toFile "text" "text";
  source = "${./tools}";
  input = make "input" { } "$b mkdir $out; echo ${text} $b $out > $out/references";

  plain = dump "plain" { a = "1"; empty = ""; yes = true; no = false; none = null; list = [ 1 "b" ]; };
  precedence = dump "precedence" {
    HOME = "/h"; PATH = "/p"; NIX_STORE = "/s"; NIX_BUILD_CORES = "99";
    NIX_BUILD_TOP = "/t"; TMPDIR = "/t"; TEMPDIR = "/t"; TMP = "/t"; TEMP = "/t"; PWD = "/t";
    NIX_LOG_FD = "9"; TERM = "dumb"; NIX_OUTPUT_CHECKED = "0"; NIX_ATTRS_SH_FILE = "x";
  };
  odd_names = dump "odd_names" {
    ${placeholder "out"} = "1"; "a=b" = "c"; "sp ace" = "y\nz"; "é" = "ü"; own = placeholder "out";
    other = placeholder "dev";
  };
  two_outputs = dump "two_outputs" {
    outputs = [ "out" "dev" ]; both = "${placeholder "dev"}:${placeholder "out"}/x";
  };
  odd_arguments = raw "odd_arguments" {
    builder = b;
    args = [ "sh" "-c" ''
      b=$1; d=/dump/odd_arguments; $b mkdir -p $d/files $d/modes
      $b cat /proc/$$/environ > $d/env; $b cat /proc/$$/cmdline > $d/args; $b pwd > $d/directory
      $b mkdir $out
    '' "zero" b "" "a\nb" "é ${placeholder "out"}/x" ];
  };
  files = dump "files" {
    passAsFile = [ "t" "u" "absent" "out" ];
    t = "hello ${placeholder "out"}\n"; u = ""; tPath = "mine"; uPat = "k";
  };
  graphs = dump "graphs" {
    exportReferencesGraph = [ "a-1" input "_.b" text "twice" input "twice" text ];
    x = "${input}/references";
  };
  graph_below = dump "graph_below" { exportReferencesGraph = [ "g" "${source}/busybox" ]; };
  graph_of_derivation = dump "graph_of_derivation" {
    exportReferencesGraph = [ "g" input.drvPath ];
  };
  fixed_output = dump "fixed_output" fixed;
  structured_example = structured "structured_example" {
    f = 1.5; fa = false; l = [ "a" 1 true ]; n = 3; nested = { a = [ 1 ]; }; nu = null;
    o = { x = "y"; z = 1; }; str = "a'b"; t = true; bad-key = 1;
  };
  structured_numbers = structured "structured_numbers" {
    a = 5000000000; b = -5; c = 2147483648; d = 2.0; e = 1.0e10; f = 1.5; g = 16777217.0; h = 1.0e20;
    i = [ 1.5 ]; j = [ 1 5000000000 2.0 null ]; k = [ ]; l = { }; m = { "a b" = null; "c'd" = "e"; };
    n = { a = [ ]; }; o = 16777217.5; p = 9223372036854775807; q = -2.5e-7; _1 = true; "1x" = 3;
    r = "é\n\t\"\\"; s = placeholder "out"; ${placeholder "out"} = { ${placeholder "out"} = 1; };
  };
  structured_graphs = structured "structured_graphs" {
    exportReferencesGraph = { g = [ input source ]; system = [ text ]; none = [ ]; };
  };
  structured_fixed = structured "structured_fixed" fixed;
  structured_outputs = structured "structured_outputs" {
    outputs = [ "out" "dev" ]; passAsFile = [ "x" ]; x = placeholder "dev";
  };
  floating_outputs = dump "floating_outputs" (floating // {
    outputs = [ "out" "dev" ]; x = placeholder "dev";
  });
  structured_floating = structured "structured_floating" floating;
@SINCE_2_9@  impure = dump "impure" ({
@SINCE_2_9@    __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
@SINCE_2_9@    impureEnvVars = [ "FOO" "UNSET" ];
@SINCE_2_9@  });
@SINCE_2_27@  nested_graphs = structured "nested_graphs" {
@SINCE_2_27@    exportReferencesGraph = { g = [ [ input ] [ [ ] text ] ]; h = input; };
@SINCE_2_27@  };
