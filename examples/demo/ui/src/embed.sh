# Makes C strings of text files: templates/head.txt becomes TEMPLATE_HEAD.
for file in "$@"; do
  name=$(basename "$file" .txt | tr a-z- A-Z_)
  printf 'static const char TEMPLATE_%s[] =' "$name"
  sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/ "&\\n"/' "$file"
  printf ';\n'
done
