"""What people see who log in to the Hub with an account of the manager: the form, and the page for a new password."""

from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_path_join

from bai_jupyter.client import ConfigError, ManagerClient
from bai_jupyter.common.errors import PublicError
from bai_jupyter.spawner.credentials import service_config

CHANGE_PATH = "/change-password"

# Rendered by JupyterHub without escaping.
LOGIN_FORM = """
<form action="{{ authenticator_login_url | e }}" method="post">
  <div class="auth-form-header"><h1>Sign in</h1></div>
  <div class="auth-form-body m-auto">
    {% if login_error == "Invalid username or password" %}
    {% set login_error = "The e-mail address or the password is not right." %}
    {% endif %}
    {% if login_error %}<p class="login_error" role="alert">{{ login_error | e }}</p>{% endif %}
    <input type="hidden" name="_xsrf" value="{{ xsrf | e }}">
    <label for="username_input">E-mail address:</label>
    <input id="username_input" class="form-control" type="text" name="username" value="{{ (username or '') | e }}"
           autocapitalize="off" autocorrect="off" autocomplete="username" autofocus>
    <label for="password_input">Password:</label>
    <input id="password_input" class="form-control" type="password" name="password" autocomplete="current-password">
    <input id="login_submit" class="btn btn-jupyter form-control mt-3" type="submit" value="Sign in">
  </div>
</form>
"""

_PAGE = """
{% extends "page.html" %}
{% block login_widget %}{% endblock %}
{% block main %}
<div id="login-main" class="container">
  <form method="post">
    <div class="auth-form-header"><h1>New password</h1></div>
    <div class="auth-form-body m-auto">
      <p class="{{ 'login_error' if error else '' }}" role="{{ 'alert' if error else 'status' }}">
        {{ error or 'Your password must be changed before you can sign in.' }}</p>
      <input type="hidden" name="_xsrf" value="{{ xsrf }}">
      <label for="username">E-mail address:</label>
      <input id="username" class="form-control" type="text" name="username" value="{{ username }}"
             autocapitalize="off" autocorrect="off" autocomplete="username">
      <label for="old">Password until now:</label>
      <input id="old" class="form-control" type="password" name="old" autocomplete="current-password" autofocus>
      <label for="new">New password:</label>
      <input id="new" class="form-control" type="password" name="new" autocomplete="new-password">
      <label for="again">The new password again:</label>
      <input id="again" class="form-control" type="password" name="again" autocomplete="new-password">
      <input class="btn btn-jupyter form-control mt-3" type="submit" value="Change it">
    </div>
  </form>
</div>
{% endblock %}
"""


def password_url(base_url: str, username: str) -> str:
    return f"{url_path_join(base_url, CHANGE_PATH)}?{urlencode({'username': username})}"


class PasswordHandler(BaseHandler):
    """For somebody who could not log in because the password must be changed first."""

    def initialize(self, domain: str) -> None:
        self._domain = domain

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        old, new, again = (self.get_body_argument(name, "", strip=False) for name in ("old", "new", "again"))
        if new != again:
            await self._show("The two new passwords are not the same.")
            return
        try:
            async with ManagerClient(service_config()) as client:
                await client.replace_password(self._username, old, new, self._domain)
        except (PublicError, ConfigError) as error:
            await self._show(str(error))
            return
        self.redirect(f"{self.settings['login_url']}?{urlencode({'username': self._username})}")

    @property
    def _username(self) -> str:
        return str(self.get_argument("username", ""))

    async def _show(self, error: str = "") -> None:
        shown: dict[str, Any] = {**self.template_namespace, "error": error, "username": self._username}
        if error:
            self.set_status(400)
        page = self.settings["jinja2_env"].from_string(_PAGE)
        self.finish(await page.render_async(**shown))
