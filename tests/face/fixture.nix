# What the compared store is filled with.
let
  tools = ./tools;
  make = name: attributes: script: derivation ({
    inherit name;
    system = "x86_64-linux";
    builder = "${tools}/sh";
    args = [ "-c" "set -e; PATH=${tools}; ${script}" ];
  } // attributes);
in rec {
  base = make "base-1.0" { } ''
    mkdir $out; echo base > $out/file; ln -s file $out/link; echo '#!' > $out/run
    chmod +x $out/run; mkdir $out/empty
  '';
  lib = make "lib-2.1" { inherit base; } ''
    mkdir -p $out/lib; echo $base > $out/lib/needs; echo $out > $out/lib/self
  '';
  multi = make "multi-3" { outputs = [ "out" "dev" "doc" ]; inherit lib; } ''
    mkdir $out $dev; echo $lib > $out/needs; echo $out > $dev/headers; echo pages > $doc
  '';
  source = builtins.toFile "source.txt" "text that ${builtins.toFile "deep.txt" "refers"}";
  app = make "app-1" { inherit lib source; dev = multi.dev; } ''
    mkdir $out; echo $lib > $out/lib; echo $dev > $out/dev; cp $source $out/source
    ln -s $lib/lib $out/link; echo words of the builder
  '';
  other = make "other" { inherit base; } "echo $base > $out";
  fixed = make "fixed.txt" {
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "fixed\n";
  } "echo fixed > $out";
  tree = make "tree" {
    outputHashMode = "recursive"; outputHashAlgo = "sha1";
    outputHash = "6b4e26abccbb6e379585a0130d959458491e025f";
  } "mkdir $out";
  environment = make "environment" {
    text = "a 'quoted' word, a \"double\" one, a \\ and\nlines"; empty = ""; inherit base;
    number = 3; list = [ "a" "b c" ];
  } "echo $text > $out";
  structured = make "structured" { __structuredAttrs = true; list = [ 1 "b" ]; } "exit 1";
  failing = make "failing" { } "echo words of the builder; exit 3";
  above-failing = make "above-failing" { inherit failing; } "exit 3";
  wrong-hash = make "wrong-hash" {
    outputHashMode = "flat"; outputHashAlgo = "sha256";
    outputHash = builtins.hashString "sha256" "another\n";
  } "echo fixed > $out";
  unbuilt = make "unbuilt" { inherit app; } "echo $app > $out";
  top = make "top" { inherit unbuilt multi; } "echo $unbuilt > $out";
  elsewhere = make "elsewhere" { system = "riscv128-plan9"; } "true";
  unbuilt-multi = make "unbuilt-multi" { outputs = [ "lib" "man" ]; } "echo l > $lib; echo m > $man";
  changing = make "changing" { } "cat /proc/sys/kernel/random/uuid > $out";
}
