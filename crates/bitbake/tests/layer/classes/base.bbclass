inherit late_one

addtask fetch
do_fetch() {
	echo fetching ${PN} from "$(helper ${WEAK})"
}
do_fetch[dirs] = "${B}"

addtask build after do_compile
do_build() {
	:
}
do_build[nostamp] = "1"
do_build[recrdeptask] = "do_build"

addtask compile after do_fetch before do_build
python do_compile() {
    bb.note(d.getVar("FEATURES"))
    if bb.utils.contains("FEATURES", "green", True, False, d):
        tool(d)
    tl.things.double(d.getVar("WEAK"))
    bb.build.exec_func("helper", d)
}
do_compile[vardeps] += "EXTRA_DEP"
do_compile[vardepsexclude] = "NOT_COUNTED"
do_compile[depends] = "${@'' if d.getVar('PN') == 'alpha' else 'alpha:do_build'}"

helper() {
	case "$1" in
	a*) one_command --flag ;;
	*) `other_command` || die "no ${UNKNOWN}" ;;
	esac
	local x=$(third_command | fourth_command)
}

die() {
	exit 1
}

def tool(d):
    return d.getVar("TOOL_" + d.getVar("PN")) or d.getVarFlag("TOOLS", "default")

python () {
    if d.getVar("PN").startswith("skipped"):
        raise bb.parse.SkipRecipe("by its name")
    d.setVar("ANONYMOUS", "ran for " + d.getVar("PN"))
    d.appendVar("DEPENDS", " from-anonymous")
    d.setVarFlag("do_compile", "network", "1")
    if "wood" in (d.getVar("FEATURES") or "").split():
        bb.build.addtask("do_saw", "do_compile", "do_fetch", d)
}

do_saw() {
	saw ${FEATURES}
}

addhandler note_events
python note_events () {
    d.setVar("SEEN_EVENTS", (d.getVar("SEEN_EVENTS") or "") + " " + bb.event.getName(e))
}
note_events[eventmask] = "bb.event.RecipePreFinalise bb.event.RecipeTaskPreProcess"
