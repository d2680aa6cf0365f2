# Makes a header of the version on standard input.
IFS=. read -r major minor patch
printf '#ifndef SHARED_VERSION_H\n#define SHARED_VERSION_H\n'
printf '#define SHARED_VERSION "%s.%s.%s"\n' "$major" "$minor" "$patch"
printf '#define SHARED_VERSION_NUMBER %d\n' "$((major * 10000 + minor * 100 + patch))"
printf '#endif\n'
