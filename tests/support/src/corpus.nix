let
  box = ./builder;
  make = name: extra: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "${box}/busybox";
    args = [ "sh" "-c" "set -e; b=${box}/busybox; ${script}" ];
  } // extra);
  lib = make "lib-@SALT@" { outputs = [ "out" "dev" ]; tree = ./tree; } ''
    $b mkdir -p $out/bin $out/empty $dev
    $b cp -R $tree $out/copy
    echo "uses $tree" > $out/note
    echo "#!/bin/sh" > $out/bin/tool; $b chmod +x $out/bin/tool
    $b ln -s $tree/run $out/bin/run
    echo "headers of $out" > $dev/header
  '';
in make "top-@SALT@" { inherit lib; dev = lib.dev; } ''
    $b mkdir $out
    echo "$lib $dev" > $out/uses
    echo "I am $out" > $out/self
    $b ln -s $lib/bin/tool $out/tool
    $b printf 'a\000b' > $out/zero
''
