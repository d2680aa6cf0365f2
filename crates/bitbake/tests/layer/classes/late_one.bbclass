LATE ?= "from class"
BB_DEFER_BBCLASSES ?= "postponed"
