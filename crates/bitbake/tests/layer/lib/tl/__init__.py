BBIMPORTS = ["things"]
