// Buttons that copy the value of a field: data-copy-from is the field's id.

import { toast } from "./toast.js";

for (const button of document.querySelectorAll("[data-copy-from]")) {
  const field = document.getElementById(button.dataset.copyFrom);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      toast("The address is copied.");
    } catch {
      toast("Your browser does not let pages copy. The address is selected; copy it with the keyboard.");
    }
  });
}
