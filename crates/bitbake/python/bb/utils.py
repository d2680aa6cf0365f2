"""What metadata knows as `bb.utils`; the rooms behind it have one purpose each."""

from bb._depends import *  # noqa: F401,F403
from bb._depends import explode_deps, explode_dep_versions, explode_dep_versions2, join_deps  # noqa: F401
from bb._digests import *  # noqa: F401,F403
from bb._edit import *  # noqa: F401,F403
from bb._files import *  # noqa: F401,F403
from bb._host import *  # noqa: F401,F403
from bb._versions import *  # noqa: F401,F403
from bb._words import *  # noqa: F401,F403
