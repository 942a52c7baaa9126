//! The text of `nix-store --help`.

pub(super) const HELP: &str = "\
Usage: nix-store OPERATION [OPTION…] [PATH…]

Operations:
  --serve [--write]                 speak the serve protocol on stdin and stdout
  -r, --realise [--dry-run] [--check] [--repair] [--add-root LINK] [--ignore-unknown]
      DRV[!OUTPUTS]…
                                    build derivations, print the paths of their outputs
  -l, --read-log PATH…              print what builders wrote
  -A, --add FILE…                   add files and directories, print their store paths
  --add-fixed [--recursive] ALGORITHM FILE…
                                    the same under names of fixed outputs
  --print-fixed-path [--recursive] ALGORITHM HASH NAME
  -q, --query QUERY PATH…           --outputs (default), -R|--requisites
                                    [--include-outputs], --references, --referrers,
                                    --referrers-closure, -d|--deriver,
                                    --valid-derivers, -b|--binding NAME, --hash, --size,
                                    --tree, --graph, --graphml, --resolve, --roots;
                                    [-u|--use-output] [-f|--force-realise]
  --print-env DRV                   what a builder is started with, as shell commands
  --check-validity [--print-invalid] PATH…
  --dump PATH                       write an archive to stdout
  --restore PATH                    unpack the archive on stdin
  --export PATH…, --import          write and read export streams
  --dump-db [PATH…], --load-db      write and read registrations
  --register-validity [--reregister] [--hash-given]
                                    register paths that are on disk
  --gc [--print-roots | --print-live | --print-dead | --max-freed BYTES]
                                    delete what no root needs
  --delete [--ignore-liveness] PATH…
  --optimise                        share equal files
  --verify [--check-contents] [--repair]
                                    compare the database with what is on disk
  --verify-path PATH…, --repair-path PATH…
  --generate-binary-cache-key NAME SECRET-FILE PUBLIC-FILE
  --init                            make a store
  --version, --help

Options of all operations:
  --store ADDRESS                   auto, local, a directory, local?root=DIR
  --option NAME VALUE               a setting of nix.conf; also --NAME VALUE
  -j N, -k, -K, --cores N, --timeout SECONDS, --max-silent-time SECONDS
                                    how to build
  --stdin                           read more arguments from stdin
  -Q, -v, --quiet, --log-format FORMAT

Examples:
  nix-store --serve --write --store local?root=/tmp/store
  nix-store -qR ./result
  nix-store --dump ./dir | nix-store --restore ./copy

More, with a manual page for each: nix-serve --help
";
