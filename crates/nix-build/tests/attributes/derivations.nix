  s = name: attributes: make name ({ __structuredAttrs = true; } // attributes) "$b mkdir ${placeholder "out"}";
  e = name: attributes: make name attributes "$b mkdir $out";
  other = "/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-src";

  json_syntax = e "json_syntax" { __json = "{"; };
  json_array = e "json_array" { __json = "[1]"; };
  graph_number = s "graph_number" { exportReferencesGraph = { g = 1; }; };
  graph_relative = s "graph_relative" { exportReferencesGraph = { g = "x"; }; };
  graph_foreign = s "graph_foreign" { exportReferencesGraph = { g = other; }; };
  features_string = s "features_string" { requiredSystemFeatures = "kvm"; };
  flag_string = s "flag_string" { preferLocalBuild = "1"; };
  graph_odd = e "graph_odd" { exportReferencesGraph = "g"; };
  graph_file_name = e "graph_file_name" { exportReferencesGraph = "1g ${tools}"; };
  graph_word = e "graph_word" { exportReferencesGraph = "g x"; };
  graph_outside = e "graph_outside" { exportReferencesGraph = "g /etc/passwd"; };
  graph_store = e "graph_store" { exportReferencesGraph = "g /nix/store"; };
  graph_not_an_input = e "graph_not_an_input" { exportReferencesGraph = "g ${other}"; };
  reference_word = e "reference_word" { allowedReferences = "no/pe"; };
