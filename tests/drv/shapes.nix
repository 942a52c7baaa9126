# Five hundred derivations and more, of many shapes. Nothing here is ever built.
{
  floating,
  impure,
  dynamic,
}:
let
  inherit (builtins) elemAt genList length toString;

  mk = name: attrs: derivation ({ inherit name; system = "x86_64-linux"; builder = "/bin/sh"; } // attrs);
  many = count: make: genList make count;
  mod = a: b: a - b * (a / b);
  pick = list: n: elemAt list (mod n (length list));

  # Each depends on the one before.
  chain = many 120 (n:
    mk "chain-${toString n}" ({ inherit n; } // (if n == 0 then { } else { before = elemAt chain (n - 1); })));

  outputSets = [ [ "out" "dev" ] [ "dev" "out" ] [ "lib" ] [ "out" "a.b_c" "man" ] [ "bin" "dev" "doc" "out" ] ];
  multi = many 60 (n:
    mk "multi-${toString n}" ({
      outputs = pick outputSets n;
      args = [ "-c" "echo ${toString n}" ];
    } // (if n == 0 then { } else rec {
      last = elemAt multi (n - 1);
      named = last.${elemAt last.outputs (length last.outputs - 1)};
      all = map (output: last.${output}) last.outputs;
    })));

  hashes = [
    { outputHashAlgo = "sha256"; outputHash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; }
    { outputHashAlgo = "sha256"; outputHash = "00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq"; }
    { outputHashAlgo = "sha1"; outputHash = "143xibwh31h9bvxzalr0sjvbbvpa6ffs"; }
    { outputHashAlgo = "md5"; outputHash = "3y8bwfr609h3lh9ch0izcqq7fl"; }
    { outputHashAlgo = "sha512"; outputHash = "0zdl9zrg8r3i9c1g90lgg9ip5ijzv3yhz91i0zzn3r8ap9ws784gkp9dk9j3aglhgf1amqb0pj21mh7h1nxcl18akqvvf7ggqsy30yg"; }
  ];
  fixed = many 60 (n:
    mk "fixed-${toString (n / 2)}.tar" (pick hashes n // {
      outputHashMode = pick [ "flat" "recursive" ] (n / 5);
      url = "https://example.org/${toString n}";
      tool = elemAt chain n;
    }));
  onFixed = many 30 (n: mk "on-fixed-${toString n}" { srcs = [ (elemAt fixed n) (elemAt fixed (n + 1)) (elemAt fixed (2 * n)) ]; });

  structured = many 50 (n:
    mk "structured-${toString n}" {
      __structuredAttrs = true;
      outputs = pick outputSets n;
      inherit n;
      list = [ 1 true null "x" [ ] { a = { b = n; }; } ];
      text = "quote \" backslash \\ tab \t line\nend é €";
      input = elemAt chain n;
      outputChecks.out.maxSize = n;
      "odd key" = "";
    });

  odd = [
    "" " " "\"" "\\" "\n" "\r" "\t" "\\n" "\\\\" "\"\\\"" "$out" "''\${x}''" "line\nline\n" "a\tb\rc" "é" "日本語" "\\" "x\\" "'"
    "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9" "[(\",\")]"
  ];
  escapes = many 60 (n:
    mk "escapes-${toString n}" {
      a = pick odd n;
      b = "${pick odd n}${pick odd (n + 1)}${pick odd (n + 7)}";
      args = [ (pick odd n) (pick odd (n + 3)) ];
      builder = "/bin/${pick odd (n + 5)}";
      "${pick odd n}k" = n;
    });

  bytes = builtins.readFile ./bytes;
  nonText = many 20 (n: mk "bytes-${toString n}" { inherit bytes; args = [ "${bytes}${toString n}" ]; });

  passed = many 30 (n:
    mk "passed-${toString n}" {
      passAsFile = [ "text" "other" ];
      text = "some text ${toString n}";
      other = elemAt multi n;
      allowedReferences = [ "out" ];
      exportReferencesGraph = [ "graph" (elemAt chain n) ];
      preferLocalBuild = true;
      allowSubstitutes = false;
    });

  sources = many 40 (n:
    mk "sources-${toString n}" {
      builder = builtins.toFile "builder.sh" "echo ${toString n}";
      src = ./sources;
      file = builtins.toFile "with-reference" "${builtins.toFile "referred" "${toString n}"}";
      drv = (elemAt chain n).drvPath;
    });

  wide = many 20 (n: mk "wide-${toString n}" { inputs = genList (k: elemAt chain (4 * k + mod n 4)) 20; all = multi; });
  big = many 5 (n: mk "big-${toString n}" { text = builtins.concatStringsSep "\n" (genList toString 5000); inherit n; });
  names = map (name: mk name { }) [ "a+b-c._?=" "UPPER" "1" "_x" "x-0-y" "a.drv.txt" ];
  systems = map (system: mk "system" { inherit system; }) [ ":" "builtin" "aarch64-linux" "i686-linux with words" ];

  content = mode: { __contentAddressed = true; outputHashMode = mode; outputHashAlgo = "sha256"; };
  floats = many 30 (n:
    mk "floating-${toString n}" (content (pick [ "recursive" "flat" ] n) // {
      outputs = if mod n 2 == 0 then [ "out" "dev" ] else [ "out" ];
      inherit n;
    } // (if n < 2 then { } else { before = elemAt floats (n - 2); })));
  deferred = many 30 (n:
    mk "deferred-${toString n}" ({ a = elemAt floats n; b = elemAt chain n; outputs = pick outputSets n; }
    // (if n == 0 then { } else { before = elemAt deferred (n - 1); })));

  impures = many 10 (n: mk "impure-${toString n}" { __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit n; });
  onImpure = many 10 (n: mk "on-impure-${toString n}" { __impure = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; a = elemAt impures n; });

  maker = n: mk "made-${toString n}.drv" { __contentAddressed = true; outputHashMode = "text"; outputHashAlgo = "sha256"; inherit n; };
  dynamics = many 10 (n: mk "dynamic-${toString n}" { made = builtins.outputOf (maker n).outPath "out"; direct = maker (n + 1); });

in
chain ++ multi ++ fixed ++ onFixed ++ structured ++ escapes ++ nonText ++ passed ++ sources ++ wide ++ big ++ names ++ systems
++ (if floating then floats ++ deferred else [ ])
++ (if impure then impures ++ onImpure else [ ])
++ (if dynamic then genList maker 11 ++ dynamics else [ ])
