# shellcheck shell=bash
# Makes images from Debian packages of this machine. Sourced, never run.

image_cache=$cache/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One at a time: who comes second finds the images made.
mkdir -p "$image_cache"
exec {images_lock}>"$image_cache/lock"
flock "$images_lock"

# Makes the image NAME unless there is one of the same recipe, and prints its path.
# Each of PACKAGES is installed where absent; its programs bring their libraries.
package_image() { # NAME "PACKAGE…" OCI_ARGUMENT…
  local name=$1 listed archive digest
  IFS=' ' read -ra listed <<<"$2"
  shift 2
  listed+=(busybox netbase)
  packages "${listed[@]}"
  digest=$({
    echo "$name ${*//"$e2e"/}"
    dpkg-query -W -f '${Package} ${Version}\n' "${listed[@]}" libc6
    find "$e2e/images.d" "$e2e/lib/oci.py" "$e2e/lib/images.sh" -type f -exec cat {} +
  } | sha256sum | cut -c1-12)
  archive=$image_cache/$(tr /: __ <<<"${name#docker.io/}")-$digest.tar
  if [ ! -e "$archive" ]; then
    say "making the image $name"
    rm -f "${archive%-*}"-*.tar
    package_files "${listed[@]}" >"$work/files"
    busybox_links >"$work/links"
    "$e2e/lib/oci.py" --name "$name" --output "$archive" --libraries \
      --file-list "$work/files" --symlink-list "$work/links" \
      --mkdir /tmp:1777 --mkdir /run:1777 --mkdir /root:700 \
      "$@" "$e2e/images.d/base=/"
  fi
  echo "$archive"
}

# What a container needs of the packages: no manuals, no tests, nothing for the package manager.
package_files() { # PACKAGE…
  local file
  dpkg -L "$@" | sort -u |
    grep -vE '^/(usr/share/(doc|man|info|locale|lintian|bash-completion|bug)|usr/include|etc/(init.d|cron|logrotate)|lib/systemd)' |
    grep -vE '/(idlelib|lib2to3|ensurepip|node_modules|llvmjit|bitcode)|^/var/' |
    while read -r file; do
      [ -d "$file" ] && [ ! -L "$file" ] || [ ! -e "$file" ] || echo "$file"
    done
}

# A shell and the usual tools, for probes and for `sh -c`.
busybox_links() {
  local applet
  busybox --list | while read -r applet; do
    [ "$applet" = busybox ] || echo "/usr/bin/$applet=/bin/busybox"
  done
}

# Makes an image of one static program that e2e/build knows.
program_image() { # NAME COMPONENT PATH_IN_IMAGE OCI_ARGUMENT…
  local name=$1 component=$2 path=$3 archive
  shift 3
  build_components "$component"
  archive=$image_cache/$component-$(component_version "$component").tar
  if [ ! "$archive" -nt "$e2e/images" ]; then
    say "making the image $name"
    "$e2e/lib/oci.py" --name "$name" --output "$archive" --mkdir /tmp:1777 --entrypoint "$path" "$@" \
      "$(component_dir "$component")/$component=$path"
  fi
  echo "$archive"
}
