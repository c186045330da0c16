# In what begins by SSH: the session's PATH, in the place of the server's. Read by login shells and, as bash does for
# commands that come by SSH, in /etc/bash.bashrc.
if [ -n "$BAI_SSH_PATH" ]; then
    PATH=$BAI_SSH_PATH
    export PATH
    unset BAI_SSH_PATH
fi
