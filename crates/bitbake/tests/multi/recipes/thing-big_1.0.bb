PROVIDES = "virtual/thing"
