POSTPONED = "saw ${@d.getVar('LAST_WORD', False)}"
