PROVIDES = "virtual/thing"
deltask do_package
deltask do_build
