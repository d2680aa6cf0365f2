MACHINE = "host"
PN:class-none = "x"
CLASSOVERRIDE = "class-host"
