# Derivations of every kind that a client hands to another machine.
good = make "good" { } ''
  echo words of the builder
  $b mkdir $out; echo hello > $out/file; $b ln -s file $out/link; echo $out > $out/self
'';
above = make "above" { inherit good; } "echo $good > $out";
failing = make "failing" { } "echo words of the builder; exit 3";
killed = make "killed" { } "$b sh -c 'kill -9 $$'";
multi = make "multi" { outputs = [ "out" "dev" "lib" ]; } ''
  echo $lib > $out; $b mkdir $dev; echo $out > $dev/reference; echo text > $lib
'';
fixed = make "fixed" {
  outputHashMode = "flat"; outputHashAlgo = "sha256";
  outputHash = builtins.hashString "sha256" "fixed\n";
} "echo fixed > $out";
fixed-bad = make "fixed-bad" {
  outputHashMode = "flat"; outputHashAlgo = "sha256";
  outputHash = builtins.hashString "sha256" "another\n";
} "echo fixed > $out";
structured = make "structured" {
  __structuredAttrs = true; list = [ 1 "a b" ]; text = "a'b"; nothing = null;
} ''
  out=$($b sed 's/.*"outputs":{"out":"\([^"]*\)".*/\1/' .attrs.json)
  $b mkdir $out; $b cp .attrs.json .attrs.sh $out
'';
pass-as-file = make "pass-as-file" { passAsFile = [ "long" ]; long = "text in a file"; }
  "$b cat $longPath > $out";
slow = make "slow" { } "echo started; $b sleep 60";
silent = make "silent" { } "echo started; $b sleep 60";
noisy = make "noisy" { } "while true; do echo 0123456789012345678901234567890123456789; done";
big-log = make "big-log" { } "$b yes 'a line of a log' | $b head -n 20000; echo it > $out";
no-output = make "no-output" { } "true";
no-builder = raw "no-builder" { builder = "/nowhere/sh"; };
other-system = make "other-system" { system = "riscv128-plan9"; } "true";
other-feature = make "other-feature" { requiredSystemFeatures = [ "flux" ]; } "true";
forbidden = make "forbidden" { inherit good; allowedReferences = [ ]; } "echo $good > $out";
too-large = make "too-large" {
  __structuredAttrs = true; outputChecks.out.maxSize = 100;
} ''
  out=$($b sed 's/.*"outputs":{"out":"\([^"]*\)".*/\1/' .attrs.json)
  $b head -c 1000 /dev/zero > $out
'';
cycle = make "cycle" { outputs = [ "out" "dev" ]; } "echo $dev > $out; echo $out > $dev";
special = make "special" { } "$b mkdir $out; $b mkfifo $out/pipe";
writable = make "writable" { } "echo it > $out; $b chmod 666 $out";
